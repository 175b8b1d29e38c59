-- The tables of the journal, in the schema that the search path names.
--
-- One process at a time appends: it holds the row of `head`, so that positions become visible in
-- their order, and a reader never skips one that commits late. Positions are even; the odd ones
-- lie between two entries. `at` and `due` are seconds since the epoch by the server's clock.
--
-- A row of `entries` is an event for delivery and a key for deduplication; where `event` is null,
-- only the key, and `same_as` may be the key of its event. Keys and names are BLAKE2b digests of
-- 16 bytes; lanes are UTF-8, as bytes since a provider's ids may hold what no text can.
-- `records` is what correlation remembers (`tied_to`: the name of another one), `queues` what is
-- durable and not published yet, with the lanes of its keys in `waiting`.
--
-- A process is a row in `members` for as long as its `beat` grows; `owner` in `cursors` says which
-- of them serves a partition of the lanes to a subscriber. `retry` is the JSON of a `Retry`.
-- `states` is what subscribers remember of conversations.
-- `done` has what a transaction with a subscriber's own effects has taken beyond its position.

CREATE TABLE meta (format int NOT NULL, partitions int NOT NULL);
CREATE TABLE head (last bigint NOT NULL) WITH (fillfactor = 10);
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
    at double precision NOT NULL,
    tied_to bytea,
    record bytea
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE queues (
    lane bytea PRIMARY KEY,
    due double precision NOT NULL,
    items bytea NOT NULL
);
CREATE INDEX queues_by_due ON queues (due);
CREATE TABLE waiting (key bytea PRIMARY KEY, lane bytea NOT NULL);
CREATE TABLE members (
    owner text PRIMARY KEY,
    beat bigint NOT NULL DEFAULT 0,
    session int,
    session_start timestamptz,
    serves text[] NOT NULL DEFAULT '{}'
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
CREATE INDEX held_by_lane ON held (subscriber, partition, lane, position);
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

-- since format 2

CREATE TABLE states (
    conversation bytea NOT NULL,
    name text NOT NULL,
    expires_at double precision NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (conversation, name)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX states_by_expiry ON states (expires_at);
