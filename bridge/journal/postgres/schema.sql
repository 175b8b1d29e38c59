-- The tables of the journal, in the schema that the search path names.
--
-- `keep` appends. It holds the row of `head` until it commits, so that positions become visible in
-- their order, and a reader never skips one that commits late. Positions are even; the odd ones
-- lie between two entries. `at` and `due` are seconds since the epoch by the server's clock.
--
-- A row of `entries` is an event for delivery and a key for deduplication; where `event` is null,
-- only the key, and `same_as` may be the key of its event. Keys and names are BLAKE2b digests of
-- 16 bytes; lanes are UTF-8, as bytes since a provider's ids may hold what no text can.
-- `records` is what correlation remembers (`tied_to`: the name of another one; `position`: the last
-- one when it was written), `queues` what is durable and not published yet, with its `keys`;
-- `head.queued` is the last position when any queue was written.
--
-- A process is a row in `members` while it looks around, as it was last `seen` to do and has done
-- without a pause `since` then; where it `listens`, the name of that session ends in `owner`. `owner`
-- in `cursors` says which of them serves a partition of the lanes to a subscriber. `retry` is the
-- JSON of a `Retry`.
-- `states` is what subscribers remember of conversations.
-- `done` has what a transaction with a subscriber's own effects has taken, until a while after
-- the subscriber's position is beyond it.

CREATE TABLE meta (format int NOT NULL, partitions int NOT NULL);
CREATE TABLE head (last bigint NOT NULL, queued bigint NOT NULL DEFAULT 0) WITH (fillfactor = 10);
CREATE TABLE entries (
    position bigint PRIMARY KEY,
    at double precision NOT NULL,
    partition smallint NOT NULL,
    reparsed boolean NOT NULL DEFAULT false,
    key bytea NOT NULL UNIQUE,
    lane bytea NOT NULL,
    same_as bytea,
    event bytea
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE records (
    name bytea PRIMARY KEY,
    position bigint NOT NULL,
    tied_to bytea,
    record bytea
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE queues (
    lane bytea NOT NULL,
    due double precision NOT NULL,
    items bytea NOT NULL,
    keys bytea[] NOT NULL
);
CREATE INDEX queues_by_due ON queues (due);
CREATE INDEX queues_by_key ON queues USING gin (keys) WITH (fastupdate = off);
CREATE TABLE members (
    owner text PRIMARY KEY,
    listens boolean NOT NULL,
    serves text[] NOT NULL,
    seen double precision NOT NULL,
    since double precision NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE cursors (
    subscriber text NOT NULL,
    partition smallint NOT NULL,
    position bigint NOT NULL,
    owner text,
    PRIMARY KEY (subscriber, partition)
) WITH (fillfactor = 10);
CREATE TABLE held (
    subscriber text NOT NULL,
    position bigint NOT NULL,
    partition smallint NOT NULL,
    lane bytea NOT NULL,
    due_at double precision,
    retry bytea NOT NULL,
    PRIMARY KEY (subscriber, position)
);
CREATE INDEX held_by_position ON held (position);
CREATE TABLE dead (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber text NOT NULL,
    position bigint NOT NULL,
    retry bytea NOT NULL
);
CREATE INDEX dead_by_position ON dead (position);
CREATE TABLE done (
    subscriber text NOT NULL,
    partition smallint NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (subscriber, partition, position)
);
CREATE VIEW events AS
    SELECT position, to_timestamp(at) AS at, convert_from(event, 'UTF8')::json AS event
    FROM entries WHERE event IS NOT NULL;
INSERT INTO head VALUES (0);

-- From here on: what leads to the newest format, too.

CREATE TABLE IF NOT EXISTS states (
    conversation bytea NOT NULL,
    name text NOT NULL,
    expires_at double precision NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (conversation, name)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX IF NOT EXISTS states_by_expiry ON states (expires_at);

-- Append what was decided after reading all of `keys_read` and `names_read`, and the queues, no
-- later than when `base` was the last position. Return the last position before it; null, and
-- nothing is written, where some of what was read has changed since.
CREATE OR REPLACE FUNCTION keep(
    base bigint, keys_read bytea[], names_read bytea[],
    partitions bytea, keys bytea[], lanes bytea[], others bytea[], events bytea[],
    names bytea[], ties bytea[], contents bytea[],
    queue_lanes bytea[], items bytea[], dues float8[], waiting bytea[], waiting_in bytea[]
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $keep$
#variable_conflict use_variable
DECLARE
    before bigint;
    changed bigint;
BEGIN
    SELECT head.last, head.queued INTO before, changed FROM head FOR UPDATE;
    -- Each statement from here on sees what was committed before the lock was free.
    IF before <> base AND (
        changed > base
        OR EXISTS (SELECT FROM entries WHERE key = ANY(keys_read) AND position > base)
        OR EXISTS (SELECT FROM records WHERE name = ANY(names_read) AND position > base)
    ) THEN
        RETURN NULL;
    END IF;
    UPDATE head SET last = before + 2 * greatest(1, cardinality(keys)),
        queued = CASE cardinality(queue_lanes) WHEN 0 THEN changed ELSE before + 2 END;
    INSERT INTO entries (position, at, partition, key, lane, same_as, event)
    SELECT before + 2 * number, extract(epoch FROM clock_timestamp()),
        get_byte(partitions, number::int - 1), id, lane, nullif(other, ''), nullif(event, '')
    FROM unnest(keys, lanes, others, events)
        WITH ORDINALITY AS new (id, lane, other, event, number);
    INSERT INTO records (name, position, tied_to, record)
    SELECT name, before + 2, nullif(tie, ''), nullif(content, '')
    FROM unnest(names, ties, contents) AS new (name, tie, content)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position,
        tied_to = excluded.tied_to, record = excluded.record;
    IF cardinality(queue_lanes) > 0 THEN
        DELETE FROM queues
        WHERE sha256(lane) IN (SELECT sha256(each) FROM unnest(queue_lanes) AS each);
        INSERT INTO queues (lane, due, items, keys)
        SELECT new.lane, extract(epoch FROM clock_timestamp()) + due, content,
            ARRAY(SELECT id FROM unnest(waiting, waiting_in) AS each (id, at) WHERE at = new.lane)
        FROM unnest(queue_lanes, items, dues) AS new (lane, content, due) WHERE content <> '';
    END IF;
    RETURN before;
END
$keep$;

-- A lane may be longer than what an index takes.
CREATE INDEX held_by_lane ON held (subscriber, sha256(lane), position);
CREATE UNIQUE INDEX queues_by_lane ON queues (sha256(lane));
-- A publication for all tables would else refuse to change what has no primary key.
ALTER TABLE head REPLICA IDENTITY FULL;
ALTER TABLE meta REPLICA IDENTITY FULL;
ALTER TABLE queues REPLICA IDENTITY FULL;

-- Show that a process lives, which looks every `pace` seconds, and `anew` over a new connection.
-- Remove those that do not look any more, and let this one have its share of what it `wanted` to
-- serve and nobody serves. By one clock, and whoever has not looked steadily judges nobody: all may
-- have been kept from it, and the clock may have been set.
--
-- How far partitions are that it `keeps` is put back where somebody deleted it; it gives back the
-- others that it names, and `gives` says whether there were any. None of these is claimed here:
-- where another process had it meanwhile, this one has to begin with it anew.
--
-- `last` is the last position; where that is below what was `known`, positions go on beyond.
CREATE FUNCTION look(
    process text, listening boolean, wanted text[], partitions int, pace float8, silence float8,
    anew boolean, known bigint,
    names text[], numbers smallint[], positions bigint[], keeps boolean[],
    OUT last bigint, OUT due_in float8, OUT others boolean, OUT returns boolean, OUT gives boolean,
    OUT gone text[], OUT put_back text[],
    OUT shares int[], OUT owned text[], OUT served int[], OUT settled bigint[]
) LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $look$
#variable_conflict use_variable
DECLARE
    clock float8;
    steady float8;
    each text;
    share int;
BEGIN
    INSERT INTO members AS own (owner, listens, serves, seen, since)
    SELECT process, listening, wanted, at, at
    FROM (SELECT extract(epoch FROM clock_timestamp())) AS now (at)
    ON CONFLICT (owner) DO UPDATE SET serves = excluded.serves, seen = excluded.seen, since = CASE
        WHEN NOT anew AND excluded.seen - own.seen BETWEEN 0 AND pace + 1 THEN own.since
        ELSE excluded.seen END
    RETURNING own.seen, own.since, own.xmax = 0 INTO clock, steady, returns;
    WITH dead AS (
        DELETE FROM members WHERE owner IN (
            SELECT other.owner FROM members AS other, LATERAL (
                SELECT pace + CASE WHEN other.listens AND NOT EXISTS (
                    SELECT FROM pg_stat_activity
                    WHERE application_name = 'incs-bridge ' || other.owner
                ) THEN 1 ELSE silence END
            ) AS patience (seconds)
            WHERE other.owner <> process AND clock - steady > seconds
            AND (clock - other.seen > seconds OR other.seen > clock + 60)
            FOR UPDATE OF other SKIP LOCKED
        ) RETURNING owner
    ) SELECT array_agg(dead.owner) INTO gone FROM dead;
    WITH back AS (
        INSERT INTO cursors (subscriber, partition, position, owner)
        SELECT subscriber, partition, position, process
        FROM unnest(names, numbers, positions, keeps) AS mine (subscriber, partition, position, keep)
        WHERE keep ORDER BY 1, 2 ON CONFLICT DO NOTHING RETURNING cursors.subscriber
    ) SELECT array_agg(DISTINCT subscriber) INTO put_back FROM back;
    UPDATE cursors SET owner = NULL
    FROM unnest(names, numbers, keeps) AS mine (subscriber, partition, keep)
    WHERE cursors.subscriber = mine.subscriber AND cursors.partition = mine.partition
    AND NOT keep AND cursors.owner = process;
    gives := FOUND;
    FOREACH each IN ARRAY wanted LOOP
        share := ceil(partitions::float8
            / (SELECT count(*) FROM members WHERE each = ANY(serves)));
        shares := shares || share;
        WITH free AS MATERIALIZED (
            SELECT partition FROM cursors WHERE subscriber = each
            AND (owner IS NULL OR owner NOT IN (SELECT owner FROM members))
            AND (subscriber, partition) NOT IN (SELECT * FROM unnest(names, numbers))
            ORDER BY partition LIMIT greatest(0, share - (
                SELECT count(*) FROM cursors WHERE subscriber = each AND owner = process
            )) FOR UPDATE SKIP LOCKED
        )
        UPDATE cursors SET owner = process FROM free
        WHERE cursors.subscriber = each AND cursors.partition = free.partition;
    END LOOP;
    SELECT array_agg(subscriber), array_agg(partition::int), array_agg(position)
    INTO owned, served, settled FROM cursors WHERE owner = process;
    SELECT head.last INTO last FROM head;
    UPDATE head SET last = known + 1048576 WHERE head.last < known;
    others := EXISTS (SELECT FROM members WHERE owner <> process);
    due_in := (SELECT min(due) FROM queues) - clock;
END
$look$;
