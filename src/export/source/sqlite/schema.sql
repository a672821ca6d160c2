CREATE TABLE interaction (
  id                 TEXT NOT NULL PRIMARY KEY,
  status             INTEGER,
  entitytypeid       INTEGER,
  mediatypeid        TEXT,
  typeid             TEXT,
  subtypeid          TEXT,
  externalid         TEXT,
  ownerid            INTEGER,
  contactid          TEXT,
  parentid           TEXT,
  startdate          TEXT,
  modifieddate       TEXT,
  enddate            TEXT,
  threadid           TEXT,
  categoryid         TEXT,
  timeshift          INTEGER,
  subject            TEXT,
  text               TEXT,
  structuredtext     TEXT,
  structtextmimetype TEXT,
  thecomment         TEXT,
  tenantid           INTEGER,
  subtenantid        INTEGER,
  threadhash         INTEGER,
  canbeparent        INTEGER,
  creatorappid       INTEGER,
  queuename          TEXT,
  allattributes      BLOB,
  isspam             INTEGER,
  websafeemailstatus TEXT,
  strattribute1      TEXT,
  strattribute2      TEXT,
  strattribute3      TEXT,
  strattribute4      TEXT,
  strattribute5      TEXT,
  strattribute6      TEXT,
  strattribute7      TEXT,
  strattribute8      TEXT,
  strattribute9      TEXT,
  strattribute10     TEXT,
  intattribute1      INTEGER,
  intattribute2      INTEGER,
  intattribute3      INTEGER,
  intattribute4      INTEGER,
  intattribute5      INTEGER,
  iscategoryapproved INTEGER,
  stoppedreason      TEXT,
  lang               TEXT
);
CREATE INDEX interaction_entity_start ON interaction (entitytypeid, startdate);

CREATE TABLE attachment (
  documentid  TEXT NOT NULL PRIMARY KEY,
  entityid    TEXT NOT NULL,
  thename     TEXT,
  mimetype    TEXT,
  thesize     INTEGER,
  description TEXT,
  content     BLOB
);
CREATE INDEX attachment_entity ON attachment (entityid);

CREATE TABLE contact (
  contactid    TEXT NOT NULL PRIMARY KEY,
  tenantid     INTEGER,
  createddate  TEXT,
  modifieddate TEXT
);
CREATE INDEX contact_created ON contact (createddate);

CREATE TABLE contactattribute (
  contactid    TEXT NOT NULL,
  attrname     TEXT NOT NULL,
  attrvalue    TEXT,
  isprimary    INTEGER,
  modifieddate TEXT
);
CREATE INDEX contactattribute_contact ON contactattribute (contactid);
