-- The trail of all sidecars, and the keys of persons in it. Instants are milliseconds since 1970.
--
-- GRANTS
--   role that flushes: INSERT on audit_chains, audit_events, audit_checkpoints, audit_checkpoint_keys, subject_keys;
--     EXECUTE on audit_admit, audit_head, audit_prepare, audit_subject_key
--   role of the sidecar: SELECT on the same and on audit_prunes; INSERT and DELETE on subject_keys; EXECUTE on
--     audit_horizon, audit_subject_key
--   nobody but the owner may UPDATE, TRUNCATE, or DELETE anything else

-- The functions below run with the rights of the owner: they must find these tables and nothing of the caller's.
DO $$
BEGIN
  PERFORM set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);
END $$;

CREATE TABLE audit_chains (
  chain_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  parent_chain_id TEXT COLLATE "C" NOT NULL,
  parent_head_hash BYTEA NOT NULL,
  begin_reason TEXT COLLATE "C" NOT NULL,
  flushed_at BIGINT NOT NULL DEFAULT ((extract(epoch FROM clock_timestamp()) * 1000)::BIGINT)
);

-- `position` is the order of arrival, the same for every reader; `sequence` the place in the chain. The columns from
-- `realm` to `factor_id` repeat what the record says, for searching.
CREATE TABLE audit_events (
  chain_id TEXT COLLATE "C" NOT NULL,
  sequence BIGINT NOT NULL CHECK (sequence > 0),
  at BIGINT NOT NULL,
  position BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
  flushed_at BIGINT NOT NULL DEFAULT ((extract(epoch FROM clock_timestamp()) * 1000)::BIGINT),
  realm TEXT COLLATE "C" NOT NULL,
  type TEXT COLLATE "C" NOT NULL,
  outcome SMALLINT NOT NULL,
  subject_ref TEXT COLLATE "C" NOT NULL,
  challenge_id TEXT COLLATE "C" NOT NULL,
  session_id TEXT COLLATE "C" NOT NULL,
  factor_id TEXT COLLATE "C" NOT NULL,
  previous_hash BYTEA NOT NULL,
  record BYTEA NOT NULL,
  hash BYTEA NOT NULL,
  PRIMARY KEY (chain_id, sequence, at)
) PARTITION BY RANGE (at);
CREATE INDEX audit_events_by_position ON audit_events (position);
CREATE INDEX audit_events_by_type ON audit_events (type, position);
CREATE INDEX audit_events_by_subject ON audit_events (subject_ref, position) WHERE subject_ref <> '';
CREATE INDEX audit_events_by_challenge ON audit_events (challenge_id, position) WHERE challenge_id <> '';
CREATE INDEX audit_events_by_session ON audit_events (session_id, position) WHERE session_id <> '';
CREATE INDEX audit_events_by_at ON audit_events USING brin (at);

CREATE TABLE audit_checkpoints (
  chain_id TEXT COLLATE "C" NOT NULL,
  sequence BIGINT NOT NULL CHECK (sequence > 0),
  key_id TEXT COLLATE "C" NOT NULL,
  signed_at BIGINT NOT NULL,
  head_hash BYTEA NOT NULL,
  signature BYTEA NOT NULL,
  PRIMARY KEY (chain_id, sequence, key_id, signed_at)
) PARTITION BY RANGE (signed_at);

-- Whatever has no month of its own, so that nothing is ever refused.
CREATE TABLE audit_events_default PARTITION OF audit_events DEFAULT;
CREATE TABLE audit_checkpoints_default PARTITION OF audit_checkpoints DEFAULT;

CREATE TABLE audit_checkpoint_keys (
  key_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  public_key BYTEA NOT NULL
);

-- What was taken out on purpose: rows of the chain up to `sequence`, whose hash was `head_hash`.
CREATE TABLE audit_prunes (
  chain_id TEXT COLLATE "C" NOT NULL,
  sequence BIGINT NOT NULL CHECK (sequence > 0),
  head_hash BYTEA NOT NULL,
  pruned_at BIGINT NOT NULL,
  key_id TEXT COLLATE "C" NOT NULL,
  signature BYTEA NOT NULL,
  pruned_by TEXT COLLATE "C" NOT NULL DEFAULT session_user,
  PRIMARY KEY (chain_id, sequence)
);

-- Pseudonyms of persons in the trail, and the keys of their personal fields. One is the one to use; further ones were
-- made by sidecars that could not reach this database.
CREATE TABLE subject_keys (
  ref TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  realm TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  sealed_key BYTEA NOT NULL,
  is_main BOOLEAN NOT NULL
);
CREATE INDEX subject_keys_of_subject ON subject_keys (realm, subject);
CREATE UNIQUE INDEX subject_keys_one_main ON subject_keys (realm, subject) WHERE is_main;

-- Begins to add to chains, inside the transaction that goes on to insert. One transaction at a time adds to a chain, and
-- readers that follow the trail do not look beyond the position that the lock names until this transaction has ended.
-- Answers what is known of the given stretches: rows, signed heads, and up to where the chain was pruned.
CREATE FUNCTION audit_admit(chains TEXT[], firsts BIGINT[], lasts BIGINT[])
RETURNS TABLE (kind TEXT, known_chain TEXT, known_sequence BIGINT, known_hash BYTEA)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(1396834304, key)
    FROM (SELECT DISTINCT hashtext(chain) AS key FROM unnest(chains) AS chain ORDER BY key) AS ordered;
  PERFORM pg_advisory_xact_lock_shared(1396768768 + (drawn >> 32)::INT, drawn::BIT(32)::INT)
    FROM (SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END AS drawn FROM audit_events_position_seq) AS sequence;
  RETURN QUERY
    SELECT 'row', event.chain_id, event.sequence, event.hash
      FROM unnest(chains, firsts, lasts) AS given (chain, first, last)
      JOIN audit_events AS event
        ON event.chain_id = given.chain AND event.sequence BETWEEN given.first AND given.last;
  RETURN QUERY
    SELECT 'checkpoint', signed.chain_id, signed.sequence, signed.head_hash
      FROM unnest(chains, firsts, lasts) AS given (chain, first, last)
      JOIN audit_checkpoints AS signed
        ON signed.chain_id = given.chain AND signed.sequence BETWEEN given.first AND given.last;
  RETURN QUERY
    SELECT 'pruned', pruned.chain_id, max(pruned.sequence), NULL::BYTEA
      FROM unnest(chains) AS given (chain) JOIN audit_prunes AS pruned ON pruned.chain_id = given.chain
      GROUP BY pruned.chain_id;
END $$;

-- The last row of a chain that is there or was; no row for a chain that is not known.
CREATE FUNCTION audit_head(chain TEXT)
RETURNS TABLE (sequence BIGINT, hash BYTEA)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
  SELECT known.sequence, known.hash FROM (
    (SELECT event.sequence, event.hash FROM audit_events AS event
      WHERE event.chain_id = chain ORDER BY event.sequence DESC LIMIT 1)
    UNION ALL
    (SELECT pruned.sequence, pruned.head_hash FROM audit_prunes AS pruned
      WHERE pruned.chain_id = chain ORDER BY pruned.sequence DESC LIMIT 1)
  ) AS known (sequence, hash) ORDER BY known.sequence DESC LIMIT 1
$$;

-- The position up to which nothing will be added any more. To be asked in a statement of its own, before the rows.
CREATE FUNCTION audit_horizon() RETURNS BIGINT
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  drawn BIGINT;
BEGIN
  -- First what was given out, then who is still at it: whoever begins in between is given later positions.
  SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END INTO drawn FROM audit_events_position_seq;
  RETURN least(drawn, (
    SELECT min(((classid::BIGINT - 1396768768) << 32) + objid::BIGINT) FROM pg_locks
      WHERE locktype = 'advisory' AND objsubid = 2 AND mode = 'ShareLock'
        AND classid::BIGINT BETWEEN 1396768768 AND 1396834303
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  ));
END $$;

-- The key to use for a person: the one that is there, or else the given one from now on.
CREATE FUNCTION audit_subject_key(of_realm TEXT, of_subject TEXT, new_ref TEXT, new_key BYTEA)
RETURNS TABLE (ref TEXT, sealed_key BYTEA)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
BEGIN
  FOR turn IN 1 .. 5 LOOP
    RETURN QUERY SELECT ref, sealed_key FROM subject_keys
      WHERE realm = of_realm AND subject = of_subject AND is_main;
    EXIT WHEN FOUND;
    -- Whoever comes second waits here for the first to commit, adds nothing, and finds that key in the next turn.
    INSERT INTO subject_keys (ref, realm, subject, sealed_key, is_main)
      VALUES (new_ref, of_realm, of_subject, new_key, true) ON CONFLICT DO NOTHING;
  END LOOP;
END $$;

-- Makes the partitions of this month and of the `ahead` next ones that are missing, and moves there what the default
-- partition has of them. Answers how many were made. Twenty callers at once are safe.
CREATE FUNCTION audit_prepare(ahead INT) RETURNS INT
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '1s' AS $$
DECLARE
  made INT := 0;
  parent TEXT;
  instant TEXT;
  part TEXT;
  month TIMESTAMP;
  first BIGINT;
  next BIGINT;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1396834305, 0) THEN
    RETURN 0;
  END IF;
  FOR step IN 0 .. least(greatest(ahead, 0), 24) LOOP
    month := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + make_interval(months => step);
    first := (extract(epoch FROM month) * 1000)::BIGINT;
    next := (extract(epoch FROM month + INTERVAL '1 month') * 1000)::BIGINT;
    FOR parent, instant IN VALUES ('audit_events', 'at'), ('audit_checkpoints', 'signed_at') LOOP
      part := parent || to_char(month, '_YYYY_MM');
      CONTINUE WHEN to_regclass(quote_ident(part)) IS NOT NULL;
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
      EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
      EXECUTE format('WITH moved AS (DELETE FROM %1$I WHERE %3$I >= %4$s AND %3$I < %5$s RETURNING *)
        INSERT INTO %2$I SELECT * FROM moved', parent || '_default', part, instant, first, next);
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', parent, part, first, next);
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;

REVOKE ALL ON FUNCTION audit_admit(TEXT[], BIGINT[], BIGINT[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_head(TEXT) FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_horizon() FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_prepare(INT) FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_subject_key(TEXT, TEXT, TEXT, BYTEA) FROM PUBLIC;

DO $$
BEGIN
  PERFORM audit_prepare(2);
END $$;
