-- Instants that are shown are milliseconds since 1970, UTC, by the clock of whoever wrote them. A lease goes by the database's.

CREATE TABLE schema_version (version bigint NOT NULL);

CREATE TABLE setting (
  name  text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

-- What jobs/<name>.json shows.
CREATE TABLE job (
  name     text COLLATE "C" PRIMARY KEY,
  text     text NOT NULL,    -- as it was written
  modified bigint NOT NULL,
  due      bigint,           -- when it was due last
  mark     text,             -- what has been exported, for "since_last_run"
  skipped  bigint            -- the last run to come that somebody removed: the next one is after it
);

-- Progress changes no column that is indexed, and finds room in the page that the row is in.
CREATE TABLE run (
  id            text COLLATE "C" PRIMARY KEY,    -- UUID
  job           text COLLATE "C",                -- name of the job that it is a run of
  spec          text NOT NULL,
  status        text NOT NULL,
  scheduled     bigint,              -- when it is due
  queued        bigint,
  started       bigint,
  finished      bigint,
  made          bigint,              -- when it was written down that it is to come: a clock that was wrong then shows
  attempts      bigint NOT NULL DEFAULT 0,       -- how often it was started
  fence         bigint NOT NULL DEFAULT 0,       -- of its latest claim: by an earlier one nothing of it can be changed
  deaths        bigint NOT NULL DEFAULT 0,       -- in a row, before a row was written
  owner         text,                -- the worker that has claimed it: a UUID, its host and its process
  lease_until   timestamptz,         -- from then on another one may take it up
  cancel        boolean NOT NULL DEFAULT false,  -- it is to stop
  hidden        boolean NOT NULL DEFAULT false,  -- removed from history/ while its artifact is kept
  debris        boolean NOT NULL DEFAULT false,  -- there may be files of it that are no parts of an artifact
  rows_done     bigint,
  rows_total    bigint,
  bytes_written bigint,
  eta_seconds   bigint,
  progressed    bigint,              -- when these were written down
  bytes         bigint,              -- of the zip
  certificate   text,                -- JSON: subject, serial, not_after, sha256
  warnings      text,                -- JSON: a list of texts
  error         text,
  present       boolean NOT NULL DEFAULT false,  -- the artifact is there
  deleted       bigint               -- when it was removed or had expired
) WITH (fillfactor = 70);
CREATE INDEX run_by_status ON run (status);
CREATE INDEX run_queued ON run (coalesce(queued, scheduled) NULLS FIRST, id) WHERE status = 'Queued';
CREATE INDEX run_by_presence ON run (present, finished);
CREATE INDEX run_by_job ON run (job, status);
CREATE INDEX run_hidden ON run (id) WHERE hidden;

CREATE TABLE part (
  run     text COLLATE "C" NOT NULL REFERENCES run ON DELETE CASCADE,
  number  bigint NOT NULL,    -- from 1, in the order of the zip's bytes
  name    text NOT NULL,
  key     text,               -- what it is reached by in the location of the parts; NULL: it is the name
  size    bigint NOT NULL,
  sha256  bytea NOT NULL,
  root    bytea NOT NULL,     -- BLAKE3 of the block hashes
  deleted bigint,             -- when this part alone was deleted
  PRIMARY KEY (run, number)
);
CREATE INDEX part_deleted ON part (run) WHERE deleted IS NOT NULL;

-- BLAKE3 of every 64 KiB of a stored part, 32 bytes each, in pieces that are read one at a time. They outlive the part
-- by a day, for whoever still has it open.
CREATE TABLE block_hashes (
  run    text COLLATE "C" NOT NULL,
  number bigint NOT NULL,
  piece  bigint NOT NULL,     -- from 0
  hashes bytea NOT NULL,
  PRIMARY KEY (run, number, piece)
);
-- Hashes are not compressed by trying.
ALTER TABLE block_hashes ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- When the parts of a run were forgotten, from which on the hashes of their blocks are kept for a day.
CREATE TABLE discarded (
  run text COLLATE "C" PRIMARY KEY,
  at  bigint NOT NULL
);

-- The last specs that were refused, for jobs/errors.
CREATE TABLE refusal (
  id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at     bigint NOT NULL,
  target text NOT NULL,       -- the file in jobs/ that it was written to
  field  text NOT NULL,
  wrong  text NOT NULL,
  remedy text NOT NULL,
  spec   bytea NOT NULL
);

-- Counts changes, whoever makes them. Its row is locked by commits alone, at their very end: the triggers are deferred, so
-- that nobody who has it waits for anything else.
CREATE TABLE epoch (
  is_the_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
  number          bigint NOT NULL DEFAULT 0,     -- of what is where
  others          bigint NOT NULL DEFAULT 0      -- progress, marks, the confirmed clock
) WITH (fillfactor = 10);
INSERT INTO epoch DEFAULT VALUES;

CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS
  $$ BEGIN UPDATE epoch SET number = number + 1; RETURN NULL; END $$;
CREATE FUNCTION count_other() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS
  $$ BEGIN UPDATE epoch SET others = others + 1; RETURN NULL; END $$;

CREATE CONSTRAINT TRIGGER setting_shown AFTER INSERT OR UPDATE ON setting DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.name <> 'confirmed_clock') EXECUTE FUNCTION count_change();
CREATE CONSTRAINT TRIGGER setting_other AFTER INSERT OR UPDATE ON setting DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (NEW.name = 'confirmed_clock') EXECUTE FUNCTION count_other();
CREATE CONSTRAINT TRIGGER setting_gone AFTER DELETE ON setting DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_change();

CREATE CONSTRAINT TRIGGER job_or_not AFTER INSERT OR DELETE ON job DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE CONSTRAINT TRIGGER job_shown AFTER UPDATE OF name, text, modified ON job DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE CONSTRAINT TRIGGER job_other AFTER UPDATE OF due, mark, skipped ON job DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_other();

CREATE CONSTRAINT TRIGGER run_or_not AFTER INSERT OR DELETE ON run DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE CONSTRAINT TRIGGER run_shown AFTER UPDATE OF job, status, cancel, hidden, present, scheduled ON run
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_change();
-- Whatever else is changed.
CREATE CONSTRAINT TRIGGER run_other AFTER UPDATE ON run DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_other();

-- Parts come and go with a change of their run.
CREATE CONSTRAINT TRIGGER part_shown AFTER UPDATE ON part DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE CONSTRAINT TRIGGER discarded_or_not AFTER INSERT OR DELETE OR UPDATE ON discarded DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_other();
CREATE CONSTRAINT TRIGGER refusal_made AFTER INSERT ON refusal DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_change();
CREATE CONSTRAINT TRIGGER refusal_gone AFTER DELETE ON refusal DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION count_other();
