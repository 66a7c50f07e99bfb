-- What alert rules look at beside the kept counts: how audits ended, keys that are tried again and again.

-- One row for each audit that ended: `dangers` cost bytes or could, `leaks` cost space; what was mended does not count.
CREATE TABLE audits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    audit text NOT NULL,
    ended_at timestamptz NOT NULL,
    complete boolean NOT NULL,
    dangers bigint NOT NULL,
    leaks bigint NOT NULL
);
CREATE INDEX audits_newest ON audits (audit, id);
CREATE INDEX audits_ended_at ON audits (ended_at);

-- Keys that the store has refused to delete. A claim changes none of its columns, so claims stay HOT updates.
CREATE INDEX doomed_retry_at ON doomed (retry_at) WHERE retry_at IS NOT NULL;
