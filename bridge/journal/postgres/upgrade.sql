-- From any earlier format to the one before the newest part of `schema.sql`, which follows.

LOCK TABLE head; -- as appends do, before all else
DO $$
BEGIN
    IF (SELECT format FROM meta) < 3 THEN -- users' records do not tell on what terms to write
        ALTER TABLE head ADD queued bigint NOT NULL DEFAULT 0;
        ALTER TABLE records ADD position bigint NOT NULL DEFAULT 0;
        UPDATE records SET position = last FROM head;
        ALTER TABLE records ALTER position DROP DEFAULT, DROP at;
        ALTER TABLE queues ADD keys bytea[] NOT NULL DEFAULT '{}';
        UPDATE queues SET keys = ARRAY(SELECT key FROM waiting WHERE waiting.lane = queues.lane);
        ALTER TABLE queues ALTER keys DROP DEFAULT;
        DROP TABLE waiting;
        CREATE INDEX queues_by_key ON queues USING gin (keys) WITH (fastupdate = off);
    END IF;
END
$$;
-- Processes of an earlier version count as alive for a while, in which they can be replaced.
ALTER TABLE members DROP beat, DROP IF EXISTS session, DROP IF EXISTS session_start,
    DROP IF EXISTS listens, ADD listens boolean NOT NULL DEFAULT false,
    ADD seen double precision NOT NULL DEFAULT extract(epoch FROM now()),
    ADD since double precision NOT NULL DEFAULT 0;
ALTER TABLE members ALTER serves DROP DEFAULT, ALTER listens DROP DEFAULT,
    ALTER seen DROP DEFAULT, ALTER since DROP DEFAULT;
DROP INDEX held_by_lane;
ALTER TABLE queues DROP CONSTRAINT queues_pkey;
