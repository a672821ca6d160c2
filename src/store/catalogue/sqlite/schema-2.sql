-- Attempts in a row that ended with their process before a row was written.
ALTER TABLE run ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
-- 1: there may be files of it that are no parts of an artifact.
ALTER TABLE run ADD COLUMN debris INTEGER NOT NULL DEFAULT 0;
-- JSON: a list of texts.
ALTER TABLE run ADD COLUMN warnings TEXT;
-- When it was written down that it is to come: a clock that was wrong then shows.
ALTER TABLE run ADD COLUMN made INTEGER;
-- The last run to come that somebody removed: the next one is after it.
ALTER TABLE job ADD COLUMN skipped INTEGER;
-- When this part alone was deleted; the others make an artifact that is incomplete.
ALTER TABLE part ADD COLUMN deleted INTEGER;

-- When the parts of a run were forgotten, from which on the hashes of their blocks are kept for a day.
CREATE TABLE discarded (
  run TEXT PRIMARY KEY,
  at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO discarded SELECT DISTINCT run, CAST(strftime('%s', 'now') AS INTEGER) * 1000 FROM block_hashes
  WHERE run NOT IN (SELECT run FROM part);

-- What was interrupted, or could not be cleared away, before this was written down.
UPDATE run SET debris = 1 WHERE present = 0 AND status <> 'Scheduled';

DROP TRIGGER epoch_run_update;
CREATE TRIGGER epoch_run_update AFTER UPDATE OF job, status, cancel, hidden, present, scheduled ON run BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_part_update AFTER UPDATE OF deleted ON part BEGIN UPDATE epoch SET number = number + 1; END;
