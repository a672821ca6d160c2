CREATE TABLE interaction (
  id                 text COLLATE "C" NOT NULL PRIMARY KEY,
  status             bigint,
  entitytypeid       bigint,
  mediatypeid        text,
  typeid             text,
  subtypeid          text,
  externalid         text,
  ownerid            bigint,
  contactid          text COLLATE "C",
  parentid           text,
  startdate          timestamp(3),
  modifieddate       timestamp(3),
  enddate            timestamp(3),
  threadid           text,
  categoryid         text,
  timeshift          bigint,
  subject            text,
  text               text,
  structuredtext     text,
  structtextmimetype text,
  thecomment         text,
  tenantid           bigint,
  subtenantid        bigint,
  threadhash         bigint,
  canbeparent        bigint,
  creatorappid       bigint,
  queuename          text,
  allattributes      bytea,
  isspam             bigint,
  websafeemailstatus text,
  strattribute1      text,
  strattribute2      text,
  strattribute3      text,
  strattribute4      text,
  strattribute5      text,
  strattribute6      text,
  strattribute7      text,
  strattribute8      text,
  strattribute9      text,
  strattribute10     text,
  intattribute1      bigint,
  intattribute2      bigint,
  intattribute3      bigint,
  intattribute4      bigint,
  intattribute5      bigint,
  iscategoryapproved bigint,
  stoppedreason      text,
  lang               text
);

CREATE TABLE attachment (
  documentid  text COLLATE "C" NOT NULL PRIMARY KEY,
  entityid    text COLLATE "C" NOT NULL,
  thename     text,
  mimetype    text,
  thesize     bigint,
  description text,
  content     bytea
);

CREATE TABLE contact (
  contactid    text COLLATE "C" NOT NULL PRIMARY KEY,
  tenantid     bigint,
  createddate  timestamp(3),
  modifieddate timestamp(3)
);

CREATE TABLE contactattribute (
  contactid    text COLLATE "C" NOT NULL,
  attrname     text NOT NULL,
  attrvalue    text,
  isprimary    bigint,
  modifieddate timestamp(3)
);
