-- What it is reached by in the location of the parts; NULL: it is the name.
ALTER TABLE part ADD COLUMN key TEXT;
