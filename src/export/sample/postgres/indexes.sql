CREATE INDEX interaction_entity_start ON interaction (entitytypeid, startdate);
CREATE INDEX attachment_entity ON attachment (entityid);
CREATE INDEX contact_created ON contact (createddate);
CREATE INDEX contactattribute_contact ON contactattribute (contactid);
ANALYZE interaction;
ANALYZE attachment;
ANALYZE contact;
ANALYZE contactattribute;
