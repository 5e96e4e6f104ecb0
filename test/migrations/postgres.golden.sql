CREATE TABLE attempts (
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  recent bigint NOT NULL,
  consecutive bigint NOT NULL,
  locked_until bigint NOT NULL,
  hard_locked bigint NOT NULL,
  CONSTRAINT attempts_check CHECK ((consecutive >= recent)),
  CONSTRAINT attempts_hard_locked_check CHECK ((hard_locked = ANY (ARRAY[(0)::bigint, (1)::bigint]))),
  CONSTRAINT attempts_pkey PRIMARY KEY (realm, subject),
  CONSTRAINT attempts_recent_check CHECK ((recent >= 0))
);

CREATE TABLE audit_chains (
  chain_id text COLLATE "C" NOT NULL,
  parent_chain_id text COLLATE "C" NOT NULL,
  parent_head_hash bytea NOT NULL,
  begin_reason text COLLATE "C" NOT NULL,
  flushed_at bigint NOT NULL DEFAULT ((EXTRACT(epoch FROM clock_timestamp()) * (1000)::numeric))::bigint,
  CONSTRAINT audit_chains_pkey PRIMARY KEY (chain_id)
);

CREATE TABLE audit_checkpoint_keys (
  key_id text COLLATE "C" NOT NULL,
  public_key bytea NOT NULL,
  CONSTRAINT audit_checkpoint_keys_pkey PRIMARY KEY (key_id)
);

CREATE TABLE audit_checkpoints (
  chain_id text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  key_id text COLLATE "C" NOT NULL,
  signed_at bigint NOT NULL,
  head_hash bytea NOT NULL,
  signature bytea NOT NULL,
  CONSTRAINT audit_checkpoints_pkey PRIMARY KEY (chain_id, sequence, key_id, signed_at),
  CONSTRAINT audit_checkpoints_sequence_check CHECK ((sequence > 0))
) PARTITION BY RANGE (signed_at);

CREATE TABLE audit_checkpoints_default (
  chain_id text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  key_id text COLLATE "C" NOT NULL,
  signed_at bigint NOT NULL,
  head_hash bytea NOT NULL,
  signature bytea NOT NULL,
  CONSTRAINT audit_checkpoints_default_pkey PRIMARY KEY (chain_id, sequence, key_id, signed_at),
  CONSTRAINT audit_checkpoints_sequence_check CHECK ((sequence > 0))
) PARTITION OF audit_checkpoints DEFAULT;

CREATE TABLE audit_events (
  chain_id text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  at bigint NOT NULL,
  position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  flushed_at bigint NOT NULL DEFAULT ((EXTRACT(epoch FROM clock_timestamp()) * (1000)::numeric))::bigint,
  realm text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  outcome smallint NOT NULL,
  subject_ref text COLLATE "C" NOT NULL,
  challenge_id text COLLATE "C" NOT NULL,
  session_id text COLLATE "C" NOT NULL,
  factor_id text COLLATE "C" NOT NULL,
  previous_hash bytea NOT NULL,
  record bytea NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT audit_events_pkey PRIMARY KEY (chain_id, sequence, at),
  CONSTRAINT audit_events_sequence_check CHECK ((sequence > 0))
) PARTITION BY RANGE (at);

CREATE TABLE audit_events_default (
  chain_id text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  at bigint NOT NULL,
  position bigint NOT NULL,
  flushed_at bigint NOT NULL DEFAULT ((EXTRACT(epoch FROM clock_timestamp()) * (1000)::numeric))::bigint,
  realm text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  outcome smallint NOT NULL,
  subject_ref text COLLATE "C" NOT NULL,
  challenge_id text COLLATE "C" NOT NULL,
  session_id text COLLATE "C" NOT NULL,
  factor_id text COLLATE "C" NOT NULL,
  previous_hash bytea NOT NULL,
  record bytea NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT audit_events_default_pkey PRIMARY KEY (chain_id, sequence, at),
  CONSTRAINT audit_events_sequence_check CHECK ((sequence > 0))
) PARTITION OF audit_events DEFAULT;

CREATE TABLE audit_prunes (
  chain_id text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  head_hash bytea NOT NULL,
  pruned_at bigint NOT NULL,
  key_id text COLLATE "C" NOT NULL,
  signature bytea NOT NULL,
  pruned_by text COLLATE "C" NOT NULL DEFAULT SESSION_USER,
  CONSTRAINT audit_prunes_pkey PRIMARY KEY (chain_id, sequence),
  CONSTRAINT audit_prunes_sequence_check CHECK ((sequence > 0))
);

CREATE TABLE backup_codes (
  id text COLLATE "C" NOT NULL,
  factor_id text COLLATE "C" NOT NULL,
  selector text COLLATE "C" NOT NULL,
  salt bytea NOT NULL,
  hash bytea NOT NULL,
  spent_at bigint,
  CONSTRAINT backup_codes_factor_id_fkey FOREIGN KEY (factor_id) REFERENCES factors(id) ON DELETE CASCADE,
  CONSTRAINT backup_codes_factor_id_selector_key UNIQUE (factor_id, selector),
  CONSTRAINT backup_codes_pkey PRIMARY KEY (id)
);

CREATE TABLE challenges (
  id text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  session_id text COLLATE "C" NOT NULL,
  opened_by text COLLATE "C" NOT NULL,
  purpose text COLLATE "C" NOT NULL,
  resource text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  details text COLLATE "C" NOT NULL,
  action_digest text COLLATE "C" NOT NULL,
  sensitivity text COLLATE "C" NOT NULL,
  audience text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  approval_reason text COLLATE "C",
  offers text COLLATE "C" NOT NULL,
  chosen_method text COLLATE "C",
  proven_method text COLLATE "C",
  proven_factor_id text COLLATE "C",
  policy_rule text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  settled_at bigint,
  receipt_id text COLLATE "C",
  receipt_expires_at bigint,
  delivery text COLLATE "C",
  language text COLLATE "C",
  CONSTRAINT challenges_check CHECK (((state = ANY (ARRAY['PENDING'::text, 'DELIVERED'::text, 'SEEN'::text])) = (settled_at IS NULL))),
  CONSTRAINT challenges_check1 CHECK (((state = 'APPROVED'::text) = (receipt_id IS NOT NULL))),
  CONSTRAINT challenges_check2 CHECK (((receipt_id IS NULL) = (receipt_expires_at IS NULL))),
  CONSTRAINT challenges_pkey PRIMARY KEY (id),
  CONSTRAINT challenges_purpose_check CHECK ((purpose = ANY (ARRAY['action'::text, 'login'::text, 'factor_change'::text, 'step_up'::text]))),
  CONSTRAINT challenges_receipt_id_key UNIQUE (receipt_id),
  CONSTRAINT challenges_sensitivity_check CHECK ((sensitivity = ANY (ARRAY['low'::text, 'normal'::text, 'sensitive'::text, 'critical'::text]))),
  CONSTRAINT challenges_state_check CHECK ((state = ANY (ARRAY['PENDING'::text, 'DELIVERED'::text, 'SEEN'::text, 'APPROVED'::text, 'DENIED'::text, 'EXPIRED'::text, 'CANCELLED'::text, 'LOCKED'::text, 'SUPERSEDED'::text])))
);

CREATE TABLE consents (
  id text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  method text COLLATE "C" NOT NULL,
  text_version text COLLATE "C" NOT NULL,
  language text COLLATE "C" NOT NULL,
  granted_at bigint NOT NULL,
  withdrawn_at bigint,
  sealed_address bytea,
  CONSTRAINT consents_method_check CHECK ((method = ANY (ARRAY['totp'::text, 'sms'::text, 'push'::text, 'webauthn'::text, 'backup_code'::text]))),
  CONSTRAINT consents_pkey PRIMARY KEY (id)
);

CREATE TABLE erasures (
  position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  realm text COLLATE "C" NOT NULL,
  subject_ref text COLLATE "C" NOT NULL,
  erased_at bigint NOT NULL,
  CONSTRAINT erasures_pkey PRIMARY KEY ("position")
);

CREATE TABLE factors (
  id text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  method text COLLATE "C" NOT NULL,
  display_name text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  sealed_secret bytea NOT NULL,
  last_step bigint NOT NULL,
  drift_steps bigint NOT NULL,
  replaces text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  confirmed_at bigint,
  last_used_at bigint,
  sign_count bigint NOT NULL DEFAULT 0,
  unique_digest bytea,
  freeze_reason text COLLATE "C",
  CONSTRAINT factors_check CHECK (((state = 'ACTIVE'::text) = (confirmed_at IS NOT NULL))),
  CONSTRAINT factors_freeze_reason_check CHECK ((freeze_reason = ANY (ARRAY['NOT_ME'::text, 'CONSENT_WITHDRAWN'::text, 'ENDPOINT_GONE'::text]))),
  CONSTRAINT factors_method_check CHECK ((method = ANY (ARRAY['totp'::text, 'sms'::text, 'push'::text, 'webauthn'::text, 'backup_code'::text]))),
  CONSTRAINT factors_pkey PRIMARY KEY (id),
  CONSTRAINT factors_sign_count_check CHECK ((sign_count >= 0)),
  CONSTRAINT factors_state_check CHECK ((state = ANY (ARRAY['PENDING'::text, 'ACTIVE'::text])))
);

CREATE TABLE issued_codes (
  bearer_id text COLLATE "C" NOT NULL,
  method text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  factor_id text COLLATE "C" NOT NULL,
  digest bytea NOT NULL,
  sealed bytea NOT NULL,
  issued_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  CONSTRAINT issued_codes_method_check CHECK ((method = ANY (ARRAY['sms'::text, 'push'::text, 'webauthn'::text]))),
  CONSTRAINT issued_codes_pkey PRIMARY KEY (bearer_id, method)
);

CREATE TABLE marks (
  name text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  CONSTRAINT marks_pkey PRIMARY KEY (name)
);

CREATE TABLE notices (
  id text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  method text COLLATE "C",
  facts text COLLATE "C" NOT NULL,
  noted_at bigint NOT NULL,
  due_at bigint NOT NULL,
  tries bigint NOT NULL DEFAULT 0,
  former_factor text COLLATE "C",
  former_number bytea,
  CONSTRAINT notices_check CHECK (((former_factor IS NULL) = (former_number IS NULL))),
  CONSTRAINT notices_pkey PRIMARY KEY (id)
);

CREATE TABLE push_keys (
  name text COLLATE "C" NOT NULL,
  public_key text COLLATE "C" NOT NULL,
  sealed_private bytea NOT NULL,
  created_at bigint NOT NULL,
  CONSTRAINT push_keys_name_check CHECK ((name = 'vapid'::text)),
  CONSTRAINT push_keys_pkey PRIMARY KEY (name)
);

CREATE TABLE request_claims (
  key text COLLATE "C" NOT NULL,
  fingerprint text COLLATE "C" NOT NULL,
  seed bytea NOT NULL,
  approved bigint,
  expires_at bigint NOT NULL,
  CONSTRAINT request_claims_approved_check CHECK ((approved = ANY (ARRAY[(0)::bigint, (1)::bigint]))),
  CONSTRAINT request_claims_pkey PRIMARY KEY (key)
);

CREATE TABLE rotated_device_tokens (
  realm text COLLATE "C" NOT NULL,
  token_digest text COLLATE "C" NOT NULL,
  device_id text COLLATE "C" NOT NULL,
  rotated_at bigint NOT NULL,
  CONSTRAINT rotated_device_tokens_device_id_fkey FOREIGN KEY (device_id) REFERENCES trusted_devices(id) ON DELETE CASCADE,
  CONSTRAINT rotated_device_tokens_pkey PRIMARY KEY (realm, token_digest)
);

CREATE TABLE schema_migrations (
  version integer NOT NULL,
  name text COLLATE "default" NOT NULL,
  checksum text COLLATE "default" NOT NULL,
  applied_at bigint NOT NULL,
  CONSTRAINT schema_migrations_pkey PRIMARY KEY (version)
);

CREATE TABLE send_windows (
  realm text COLLATE "C" NOT NULL,
  scope text COLLATE "C" NOT NULL,
  sends text COLLATE "C" NOT NULL,
  keep_until bigint NOT NULL,
  CONSTRAINT send_windows_pkey PRIMARY KEY (realm, scope)
);

CREATE TABLE session_change_heads (
  realm text COLLATE "C" NOT NULL,
  head bigint NOT NULL,
  trimmed bigint NOT NULL,
  CONSTRAINT session_change_heads_check CHECK ((trimmed <= head)),
  CONSTRAINT session_change_heads_pkey PRIMARY KEY (realm)
);

CREATE TABLE session_changes (
  realm text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  session_id text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  end_reason text COLLATE "C",
  changed_at bigint NOT NULL,
  CONSTRAINT session_changes_pkey PRIMARY KEY (realm, "position")
);

CREATE TABLE sessions (
  id text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  token_digest text COLLATE "C" NOT NULL,
  sealed_device bytea NOT NULL,
  amr text COLLATE "C" NOT NULL,
  acr text COLLATE "C" NOT NULL,
  mfa_at bigint,
  created_at bigint NOT NULL,
  last_used_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  idle_ms bigint NOT NULL,
  lapses_at bigint NOT NULL GENERATED ALWAYS AS (
CASE
    WHEN ((last_used_at + idle_ms) < expires_at) THEN (last_used_at + idle_ms)
    ELSE expires_at
END) STORED,
  labels text COLLATE "C" NOT NULL,
  risk_changes text COLLATE "C",
  step_up_required bigint NOT NULL DEFAULT 0,
  ended_at bigint,
  end_reason text COLLATE "C",
  CONSTRAINT sessions_check CHECK (((ended_at IS NULL) = (end_reason IS NULL))),
  CONSTRAINT sessions_end_reason_check CHECK ((end_reason = ANY (ARRAY['LOGOUT'::text, 'REVOKED'::text, 'OPERATOR'::text, 'EVICTED'::text, 'EXPIRED'::text, 'IDLE'::text, 'HIJACK'::text, 'FACTOR_CHANGE'::text, 'ERASED'::text]))),
  CONSTRAINT sessions_idle_ms_check CHECK ((idle_ms > 0)),
  CONSTRAINT sessions_pkey PRIMARY KEY (id),
  CONSTRAINT sessions_realm_token_digest_key UNIQUE (realm, token_digest),
  CONSTRAINT sessions_step_up_required_check CHECK ((step_up_required = ANY (ARRAY[(0)::bigint, (1)::bigint])))
);

CREATE TABLE signing_keys (
  id text COLLATE "C" NOT NULL,
  use text COLLATE "C" NOT NULL,
  public_jwk text COLLATE "C" NOT NULL,
  sealed_private bytea NOT NULL,
  created_at bigint NOT NULL,
  retired_at bigint,
  CONSTRAINT signing_keys_pkey PRIMARY KEY (id),
  CONSTRAINT signing_keys_use_check CHECK ((use = ANY (ARRAY['receipt'::text, 'checkpoint'::text])))
);

CREATE TABLE spent_receipts (
  receipt_id text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  spent_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  CONSTRAINT spent_receipts_pkey PRIMARY KEY (receipt_id)
);

CREATE TABLE subject_keys (
  ref text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  sealed_key bytea NOT NULL,
  is_main boolean NOT NULL,
  CONSTRAINT subject_keys_pkey PRIMARY KEY (ref)
);

CREATE TABLE temporary_passes (
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  digest bytea NOT NULL,
  expires_at bigint NOT NULL,
  CONSTRAINT temporary_passes_pkey PRIMARY KEY (realm, subject)
);

CREATE TABLE trusted_devices (
  id text COLLATE "C" NOT NULL,
  realm text COLLATE "C" NOT NULL,
  subject text COLLATE "C" NOT NULL,
  token_digest text COLLATE "C" NOT NULL,
  display_name text COLLATE "C" NOT NULL,
  sealed_connection bytea NOT NULL,
  created_at bigint NOT NULL,
  last_used_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  revoked_at bigint,
  revoke_reason text COLLATE "C",
  CONSTRAINT trusted_devices_check CHECK (((revoked_at IS NULL) = (revoke_reason IS NULL))),
  CONSTRAINT trusted_devices_pkey PRIMARY KEY (id),
  CONSTRAINT trusted_devices_realm_token_digest_key UNIQUE (realm, token_digest),
  CONSTRAINT trusted_devices_revoke_reason_check CHECK ((revoke_reason = ANY (ARRAY['REVOKED'::text, 'EVICTED'::text, 'TOKEN_REUSED'::text, 'FACTOR_CHANGE'::text, 'RESET'::text, 'NOT_ME'::text])))
);

CREATE UNIQUE INDEX attempts_pkey ON public.attempts USING btree (realm, subject);

CREATE UNIQUE INDEX audit_chains_pkey ON public.audit_chains USING btree (chain_id);

CREATE UNIQUE INDEX audit_checkpoint_keys_pkey ON public.audit_checkpoint_keys USING btree (key_id);

CREATE UNIQUE INDEX audit_checkpoints_default_pkey ON public.audit_checkpoints_default USING btree (chain_id, sequence, key_id, signed_at);

CREATE UNIQUE INDEX audit_checkpoints_pkey ON ONLY public.audit_checkpoints USING btree (chain_id, sequence, key_id, signed_at);

CREATE INDEX audit_events_by_at ON ONLY public.audit_events USING brin (at);

CREATE INDEX audit_events_by_challenge ON ONLY public.audit_events USING btree (challenge_id, "position") WHERE (challenge_id <> ''::text);

CREATE INDEX audit_events_by_position ON ONLY public.audit_events USING btree ("position");

CREATE INDEX audit_events_by_session ON ONLY public.audit_events USING btree (session_id, "position") WHERE (session_id <> ''::text);

CREATE INDEX audit_events_by_subject ON ONLY public.audit_events USING btree (subject_ref, "position") WHERE (subject_ref <> ''::text);

CREATE INDEX audit_events_by_type ON ONLY public.audit_events USING btree (type, "position");

CREATE INDEX audit_events_default_at_idx ON public.audit_events_default USING brin (at);

CREATE INDEX audit_events_default_challenge_id_position_idx ON public.audit_events_default USING btree (challenge_id, "position") WHERE (challenge_id <> ''::text);

CREATE UNIQUE INDEX audit_events_default_pkey ON public.audit_events_default USING btree (chain_id, sequence, at);

CREATE INDEX audit_events_default_position_idx ON public.audit_events_default USING btree ("position");

CREATE INDEX audit_events_default_session_id_position_idx ON public.audit_events_default USING btree (session_id, "position") WHERE (session_id <> ''::text);

CREATE INDEX audit_events_default_subject_ref_position_idx ON public.audit_events_default USING btree (subject_ref, "position") WHERE (subject_ref <> ''::text);

CREATE INDEX audit_events_default_type_position_idx ON public.audit_events_default USING btree (type, "position");

CREATE UNIQUE INDEX audit_events_pkey ON ONLY public.audit_events USING btree (chain_id, sequence, at);

CREATE UNIQUE INDEX audit_prunes_pkey ON public.audit_prunes USING btree (chain_id, sequence);

CREATE UNIQUE INDEX backup_codes_factor_id_selector_key ON public.backup_codes USING btree (factor_id, selector);

CREATE UNIQUE INDEX backup_codes_pkey ON public.backup_codes USING btree (id);

CREATE INDEX challenges_due ON public.challenges USING btree (expires_at) WHERE (settled_at IS NULL);

CREATE INDEX challenges_of_subject ON public.challenges USING btree (realm, subject, created_at, id);

CREATE UNIQUE INDEX challenges_pkey ON public.challenges USING btree (id);

CREATE UNIQUE INDEX challenges_receipt_id_key ON public.challenges USING btree (receipt_id);

CREATE INDEX challenges_settled ON public.challenges USING btree (settled_at) WHERE (settled_at IS NOT NULL);

CREATE INDEX consents_of_subject ON public.consents USING btree (realm, subject, granted_at, id);

CREATE UNIQUE INDEX consents_pkey ON public.consents USING btree (id);

CREATE INDEX consents_standing ON public.consents USING btree (realm, subject, method) WHERE (withdrawn_at IS NULL);

CREATE UNIQUE INDEX erasures_pkey ON public.erasures USING btree ("position");

CREATE INDEX factors_lapse ON public.factors USING btree (expires_at) WHERE (state = 'PENDING'::text);

CREATE INDEX factors_of_subject ON public.factors USING btree (realm, subject, created_at, id);

CREATE UNIQUE INDEX factors_one_code_set ON public.factors USING btree (realm, subject) WHERE (method = 'backup_code'::text);

CREATE UNIQUE INDEX factors_one_pending ON public.factors USING btree (realm, subject, method) WHERE (state = 'PENDING'::text);

CREATE UNIQUE INDEX factors_pkey ON public.factors USING btree (id);

CREATE UNIQUE INDEX factors_unique_digest ON public.factors USING btree (realm, method, unique_digest) WHERE ((unique_digest IS NOT NULL) AND (state = 'ACTIVE'::text));

CREATE INDEX issued_codes_expiry ON public.issued_codes USING btree (expires_at);

CREATE INDEX issued_codes_of_subject ON public.issued_codes USING btree (realm, subject);

CREATE UNIQUE INDEX issued_codes_pkey ON public.issued_codes USING btree (bearer_id, method);

CREATE UNIQUE INDEX marks_pkey ON public.marks USING btree (name);

CREATE INDEX notices_due ON public.notices USING btree (due_at);

CREATE INDEX notices_of_subject ON public.notices USING btree (realm, subject);

CREATE UNIQUE INDEX notices_pkey ON public.notices USING btree (id);

CREATE UNIQUE INDEX push_keys_pkey ON public.push_keys USING btree (name);

CREATE INDEX request_claims_expiry ON public.request_claims USING btree (expires_at);

CREATE UNIQUE INDEX request_claims_pkey ON public.request_claims USING btree (key);

CREATE INDEX rotated_device_tokens_of_device ON public.rotated_device_tokens USING btree (device_id);

CREATE UNIQUE INDEX rotated_device_tokens_pkey ON public.rotated_device_tokens USING btree (realm, token_digest);

CREATE UNIQUE INDEX schema_migrations_pkey ON public.schema_migrations USING btree (version);

CREATE INDEX send_windows_expiry ON public.send_windows USING btree (keep_until);

CREATE UNIQUE INDEX send_windows_pkey ON public.send_windows USING btree (realm, scope);

CREATE UNIQUE INDEX session_change_heads_pkey ON public.session_change_heads USING btree (realm);

CREATE INDEX session_changes_of_subject ON public.session_changes USING btree (realm, subject) WHERE (subject <> ''::text);

CREATE UNIQUE INDEX session_changes_one_end ON public.session_changes USING btree (session_id) WHERE (end_reason IS NOT NULL);

CREATE UNIQUE INDEX session_changes_pkey ON public.session_changes USING btree (realm, "position");

CREATE INDEX sessions_due ON public.sessions USING btree (lapses_at) WHERE (ended_at IS NULL);

CREATE INDEX sessions_ended ON public.sessions USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE INDEX sessions_live_of_subject ON public.sessions USING btree (realm, subject, lapses_at) WHERE (ended_at IS NULL);

CREATE INDEX sessions_of_subject ON public.sessions USING btree (realm, subject, created_at, id);

CREATE UNIQUE INDEX sessions_pkey ON public.sessions USING btree (id);

CREATE UNIQUE INDEX sessions_realm_token_digest_key ON public.sessions USING btree (realm, token_digest);

CREATE UNIQUE INDEX signing_keys_one_active ON public.signing_keys USING btree (use) WHERE (retired_at IS NULL);

CREATE UNIQUE INDEX signing_keys_pkey ON public.signing_keys USING btree (id);

CREATE INDEX spent_receipts_expiry ON public.spent_receipts USING btree (expires_at);

CREATE UNIQUE INDEX spent_receipts_pkey ON public.spent_receipts USING btree (receipt_id);

CREATE INDEX subject_keys_of_subject ON public.subject_keys USING btree (realm, subject);

CREATE UNIQUE INDEX subject_keys_one_main ON public.subject_keys USING btree (realm, subject) WHERE is_main;

CREATE UNIQUE INDEX subject_keys_pkey ON public.subject_keys USING btree (ref);

CREATE UNIQUE INDEX temporary_passes_pkey ON public.temporary_passes USING btree (realm, subject);

CREATE INDEX trusted_devices_expiry ON public.trusted_devices USING btree (expires_at);

CREATE INDEX trusted_devices_of_subject ON public.trusted_devices USING btree (realm, subject, last_used_at);

CREATE UNIQUE INDEX trusted_devices_pkey ON public.trusted_devices USING btree (id);

CREATE UNIQUE INDEX trusted_devices_realm_token_digest_key ON public.trusted_devices USING btree (realm, token_digest);

CREATE OR REPLACE FUNCTION public.audit_admit(chains text[], firsts bigint[], lasts bigint[])
 RETURNS TABLE(kind text, known_chain text, known_sequence bigint, known_hash bytea)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION public.audit_head(chain text)
 RETURNS TABLE(sequence bigint, hash bytea)
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
  SELECT known.sequence, known.hash FROM (
    (SELECT event.sequence, event.hash FROM audit_events AS event
      WHERE event.chain_id = chain ORDER BY event.sequence DESC LIMIT 1)
    UNION ALL
    (SELECT pruned.sequence, pruned.head_hash FROM audit_prunes AS pruned
      WHERE pruned.chain_id = chain ORDER BY pruned.sequence DESC LIMIT 1)
  ) AS known (sequence, hash) ORDER BY known.sequence DESC LIMIT 1
$function$;

CREATE OR REPLACE FUNCTION public.audit_horizon()
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION public.audit_prepare(ahead integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
 SET lock_timeout TO '1s'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION public.audit_subject_key(of_realm text, of_subject text, new_ref text, new_key bytea)
 RETURNS TABLE(ref text, sealed_key bytea)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'public', 'pg_temp'
AS $function$
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
END $function$;
