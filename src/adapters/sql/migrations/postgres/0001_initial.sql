-- The same tables as in SQLite. Instants are milliseconds since 1970, ids are text, structures that are never searched are
-- JSON text. All text is ordered by its bytes: the order of ids is the same everywhere, and no index depends on the
-- locales of a machine. Pseudonyms and keys of persons have a table of their own here.

CREATE TABLE challenges (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  realm TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  session_id TEXT COLLATE "C" NOT NULL,
  opened_by TEXT COLLATE "C" NOT NULL,
  purpose TEXT COLLATE "C" NOT NULL CHECK (purpose IN ('action', 'login', 'factor_change', 'step_up')),
  resource TEXT COLLATE "C" NOT NULL,
  action TEXT COLLATE "C" NOT NULL,
  details TEXT COLLATE "C" NOT NULL,
  action_digest TEXT COLLATE "C" NOT NULL,
  sensitivity TEXT COLLATE "C" NOT NULL CHECK (sensitivity IN ('low', 'normal', 'sensitive', 'critical')),
  audience TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (
    state IN ('PENDING', 'DELIVERED', 'SEEN', 'APPROVED', 'DENIED', 'EXPIRED', 'CANCELLED', 'LOCKED', 'SUPERSEDED')
  ),
  approval_reason TEXT COLLATE "C",
  offers TEXT COLLATE "C" NOT NULL,
  chosen_method TEXT COLLATE "C",
  proven_method TEXT COLLATE "C",
  proven_factor_id TEXT COLLATE "C",
  policy_rule TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  settled_at BIGINT,
  receipt_id TEXT COLLATE "C" UNIQUE,
  receipt_expires_at BIGINT,
  CHECK ((state IN ('PENDING', 'DELIVERED', 'SEEN')) = (settled_at IS NULL)),
  CHECK ((state = 'APPROVED') = (receipt_id IS NOT NULL)),
  CHECK ((receipt_id IS NULL) = (receipt_expires_at IS NULL))
);
CREATE INDEX challenges_open_of_subject ON challenges (realm, subject) WHERE settled_at IS NULL;
CREATE INDEX challenges_due ON challenges (expires_at) WHERE settled_at IS NULL;
CREATE INDEX challenges_settled ON challenges (settled_at) WHERE settled_at IS NOT NULL;

-- One row per receipt that was redeemed: the primary key is what makes a receipt single-use.
CREATE TABLE spent_receipts (
  receipt_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  realm TEXT COLLATE "C" NOT NULL,
  spent_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX spent_receipts_expiry ON spent_receipts (expires_at);

-- One row per request id that took effect. `approved` tells whether a noted attempt was right in the end; it is NULL for
-- requests that are no attempts.
CREATE TABLE request_claims (
  key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  fingerprint TEXT COLLATE "C" NOT NULL,
  seed BYTEA NOT NULL,
  approved BIGINT CHECK (approved IN (0, 1)),
  expires_at BIGINT NOT NULL
);
CREATE INDEX request_claims_expiry ON request_claims (expires_at);

-- The failure budget: one row per person with attempts since the last success.
CREATE TABLE attempts (
  realm TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  recent BIGINT NOT NULL CHECK (recent >= 0),
  consecutive BIGINT NOT NULL CHECK (consecutive >= recent),
  locked_until BIGINT NOT NULL,
  hard_locked BIGINT NOT NULL CHECK (hard_locked IN (0, 1)),
  PRIMARY KEY (realm, subject)
);

CREATE TABLE factors (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  realm TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  method TEXT COLLATE "C" NOT NULL CHECK (method IN ('totp', 'sms', 'push', 'webauthn', 'backup_code')),
  display_name TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL CHECK (state IN ('PENDING', 'ACTIVE')),
  sealed_secret BYTEA NOT NULL,
  last_step BIGINT NOT NULL,
  drift_steps BIGINT NOT NULL,
  replaces TEXT COLLATE "C" NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  confirmed_at BIGINT,
  last_used_at BIGINT,
  CHECK ((state = 'ACTIVE') = (confirmed_at IS NOT NULL))
);
CREATE INDEX factors_of_subject ON factors (realm, subject, created_at, id);
CREATE UNIQUE INDEX factors_one_pending ON factors (realm, subject, method) WHERE state = 'PENDING';
CREATE UNIQUE INDEX factors_one_code_set ON factors (realm, subject) WHERE method = 'backup_code';

CREATE TABLE backup_codes (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  factor_id TEXT COLLATE "C" NOT NULL REFERENCES factors (id) ON DELETE CASCADE,
  selector TEXT COLLATE "C" NOT NULL,
  salt BYTEA NOT NULL,
  hash BYTEA NOT NULL,
  spent_at BIGINT,
  UNIQUE (factor_id, selector)
);

CREATE TABLE consents (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  realm TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  method TEXT COLLATE "C" NOT NULL CHECK (method IN ('totp', 'sms', 'push', 'webauthn', 'backup_code')),
  text_version TEXT COLLATE "C" NOT NULL,
  language TEXT COLLATE "C" NOT NULL,
  granted_at BIGINT NOT NULL
);
CREATE INDEX consents_of_subject ON consents (realm, subject, granted_at, id);

-- Address, agent and place of a session are personal: they are sealed together in `sealed_device`.
CREATE TABLE sessions (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  realm TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  token_digest TEXT COLLATE "C" NOT NULL,
  sealed_device BYTEA NOT NULL,
  amr TEXT COLLATE "C" NOT NULL,
  acr TEXT COLLATE "C" NOT NULL,
  mfa_at BIGINT,
  created_at BIGINT NOT NULL,
  last_used_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  idle_ms BIGINT NOT NULL CHECK (idle_ms > 0),
  lapses_at BIGINT NOT NULL GENERATED ALWAYS AS (
    CASE WHEN last_used_at + idle_ms < expires_at THEN last_used_at + idle_ms ELSE expires_at END
  ) STORED,
  labels TEXT COLLATE "C" NOT NULL,
  risk_changes TEXT COLLATE "C",
  step_up_required BIGINT NOT NULL DEFAULT 0 CHECK (step_up_required IN (0, 1)),
  ended_at BIGINT,
  end_reason TEXT COLLATE "C" CHECK (
    end_reason IN ('LOGOUT', 'REVOKED', 'OPERATOR', 'EVICTED', 'EXPIRED', 'IDLE', 'HIJACK', 'FACTOR_CHANGE', 'ERASED')
  ),
  UNIQUE (realm, token_digest),
  CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX sessions_of_subject ON sessions (realm, subject, created_at, id);
CREATE INDEX sessions_live_of_subject ON sessions (realm, subject, lapses_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_due ON sessions (lapses_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- The log of what became of sessions: their ends, and other changes (a token, a risk, labels) after which copies of them
-- are out of date. Positions are handed out per realm by the row in `session_change_heads`, so they become visible in
-- order and without gaps; entries up to `trimmed` are gone. A session ends once.
CREATE TABLE session_change_heads (
  realm TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  head BIGINT NOT NULL,
  trimmed BIGINT NOT NULL CHECK (trimmed <= head)
);
CREATE TABLE session_changes (
  realm TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  session_id TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  end_reason TEXT COLLATE "C",
  changed_at BIGINT NOT NULL,
  PRIMARY KEY (realm, position)
);
CREATE UNIQUE INDEX session_changes_one_end ON session_changes (session_id) WHERE end_reason IS NOT NULL;

CREATE TABLE signing_keys (
  id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  use TEXT COLLATE "C" NOT NULL CHECK (use IN ('receipt', 'checkpoint')),
  public_jwk TEXT COLLATE "C" NOT NULL,
  sealed_private BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT
);
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (use) WHERE retired_at IS NULL;

-- What this database knows of its surroundings: the audit position it has applied, the key ring it is sealed under.
CREATE TABLE marks (
  name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  value TEXT COLLATE "C" NOT NULL
);
