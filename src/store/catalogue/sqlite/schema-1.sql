CREATE TABLE setting (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What jobs/<name>.json shows.
CREATE TABLE job (
  name     TEXT PRIMARY KEY,
  text     TEXT NOT NULL,     -- as it was written
  modified INTEGER NOT NULL,
  due      INTEGER,           -- when it was due last
  mark     TEXT               -- what has been exported, for "since_last_run"
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  id          TEXT PRIMARY KEY,     -- UUID
  job         TEXT,                 -- name of the job that it is a run of
  spec        TEXT NOT NULL,
  status      TEXT NOT NULL,
  scheduled   INTEGER,              -- when it is due
  queued      INTEGER,
  started     INTEGER,
  finished    INTEGER,
  attempts    INTEGER NOT NULL DEFAULT 0,
  cancel      INTEGER NOT NULL DEFAULT 0,   -- 1: it is to stop
  hidden      INTEGER NOT NULL DEFAULT 0,   -- 1: removed from history/ while its artifact is kept
  rows_done   INTEGER,
  rows_total  INTEGER,
  bytes_written INTEGER,
  eta_seconds INTEGER,
  progressed  INTEGER,              -- when these were written down
  bytes       INTEGER,              -- of the zip
  certificate TEXT,                 -- JSON: subject, serial, not_after, sha256
  error       TEXT,
  present     INTEGER NOT NULL DEFAULT 0,   -- 1: the artifact is there
  deleted     INTEGER               -- when it was removed or had expired
) STRICT, WITHOUT ROWID;
CREATE INDEX run_by_status ON run (status);
CREATE INDEX run_by_presence ON run (present, finished);
CREATE INDEX run_by_job ON run (job, status);

CREATE TABLE part (
  run        TEXT NOT NULL REFERENCES run ON DELETE CASCADE,
  number     INTEGER NOT NULL,   -- from 1, in the order of the zip's bytes
  name       TEXT NOT NULL,
  size       INTEGER NOT NULL,
  sha256     BLOB NOT NULL,
  root       BLOB NOT NULL,      -- BLAKE3 of the block hashes
  PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- BLAKE3 of every 64 KiB of a stored part, 32 bytes each, in pieces that are read one at a time. They outlive the part
-- by a day, for whoever still has it open.
CREATE TABLE block_hashes (
  run    TEXT NOT NULL,
  number INTEGER NOT NULL,
  piece  INTEGER NOT NULL,       -- from 0
  hashes BLOB NOT NULL,
  PRIMARY KEY (run, number, piece)
) STRICT;

-- The last specs that were refused, for jobs/errors.
CREATE TABLE refusal (
  id    INTEGER PRIMARY KEY,
  at    INTEGER NOT NULL,
  target TEXT NOT NULL,          -- the file in jobs/ that it was written to
  field TEXT NOT NULL,
  wrong TEXT NOT NULL,
  remedy TEXT NOT NULL,
  spec  BLOB NOT NULL
) STRICT;

-- Counts every change but progress, whichever process makes it.
CREATE TABLE epoch (number INTEGER NOT NULL) STRICT;
INSERT INTO epoch VALUES (0);
CREATE TRIGGER epoch_setting_insert AFTER INSERT ON setting BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_job_insert AFTER INSERT ON job BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_job_update AFTER UPDATE OF name, text, modified ON job BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_job_delete AFTER DELETE ON job BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_run_insert AFTER INSERT ON run BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_run_update AFTER UPDATE OF job, status, hidden, present, scheduled ON run BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_run_delete AFTER DELETE ON run BEGIN UPDATE epoch SET number = number + 1; END;
CREATE TRIGGER epoch_refusal_insert AFTER INSERT ON refusal BEGIN UPDATE epoch SET number = number + 1; END;
