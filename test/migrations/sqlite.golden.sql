CREATE TABLE attempts (
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  recent INTEGER NOT NULL CHECK (recent >= 0),
  consecutive INTEGER NOT NULL CHECK (consecutive >= recent),
  locked_until INTEGER NOT NULL,
  hard_locked INTEGER NOT NULL CHECK (hard_locked IN (0, 1)),
  PRIMARY KEY (realm, subject)
) STRICT;

CREATE TABLE backup_codes (
  id TEXT NOT NULL PRIMARY KEY,
  factor_id TEXT NOT NULL REFERENCES factors (id) ON DELETE CASCADE,
  selector TEXT NOT NULL,
  salt BLOB NOT NULL,
  hash BLOB NOT NULL,
  spent_at INTEGER,
  UNIQUE (factor_id, selector)
) STRICT;

CREATE TABLE challenges (
  id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  session_id TEXT NOT NULL,
  opened_by TEXT NOT NULL,
  purpose TEXT NOT NULL CHECK (purpose IN ('action', 'login', 'factor_change', 'step_up')),
  resource TEXT NOT NULL,
  action TEXT NOT NULL,
  details TEXT NOT NULL,
  action_digest TEXT NOT NULL,
  sensitivity TEXT NOT NULL CHECK (sensitivity IN ('low', 'normal', 'sensitive', 'critical')),
  audience TEXT NOT NULL,
  state TEXT NOT NULL CHECK (
    state IN ('PENDING', 'DELIVERED', 'SEEN', 'APPROVED', 'DENIED', 'EXPIRED', 'CANCELLED', 'LOCKED', 'SUPERSEDED')
  ),
  approval_reason TEXT,
  offers TEXT NOT NULL,
  chosen_method TEXT,
  proven_method TEXT,
  proven_factor_id TEXT,
  policy_rule TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  settled_at INTEGER,
  receipt_id TEXT UNIQUE,
  receipt_expires_at INTEGER, delivery TEXT, language TEXT,
  CHECK ((state IN ('PENDING', 'DELIVERED', 'SEEN')) = (settled_at IS NULL)),
  CHECK ((state = 'APPROVED') = (receipt_id IS NOT NULL)),
  CHECK ((receipt_id IS NULL) = (receipt_expires_at IS NULL))
) STRICT;

CREATE INDEX challenges_due ON challenges (expires_at) WHERE settled_at IS NULL;

CREATE INDEX challenges_of_subject ON challenges (realm, subject, created_at, id);

CREATE INDEX challenges_settled ON challenges (settled_at) WHERE settled_at IS NOT NULL;

CREATE TABLE consents (
  id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  method TEXT NOT NULL CHECK (method IN ('totp', 'sms', 'push', 'webauthn', 'backup_code')),
  text_version TEXT NOT NULL,
  language TEXT NOT NULL,
  granted_at INTEGER NOT NULL
, withdrawn_at INTEGER, sealed_address BLOB) STRICT;

CREATE INDEX consents_of_subject ON consents (realm, subject, granted_at, id);

CREATE INDEX consents_standing ON consents (realm, subject, method) WHERE withdrawn_at IS NULL;

CREATE TABLE erasures (
  position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  realm TEXT NOT NULL,
  subject_ref TEXT NOT NULL,
  erased_at INTEGER NOT NULL
) STRICT;

CREATE TABLE factors (
  id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  method TEXT NOT NULL CHECK (method IN ('totp', 'sms', 'push', 'webauthn', 'backup_code')),
  display_name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('PENDING', 'ACTIVE')),
  sealed_secret BLOB NOT NULL,
  last_step INTEGER NOT NULL,
  drift_steps INTEGER NOT NULL,
  replaces TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  confirmed_at INTEGER,
  last_used_at INTEGER, sign_count INTEGER NOT NULL DEFAULT 0 CHECK (sign_count >= 0), unique_digest BLOB, freeze_reason TEXT CHECK (freeze_reason IN ('NOT_ME', 'CONSENT_WITHDRAWN', 'ENDPOINT_GONE')),
  CHECK ((state = 'ACTIVE') = (confirmed_at IS NOT NULL))
) STRICT;

CREATE INDEX factors_lapse ON factors (expires_at) WHERE state = 'PENDING';

CREATE INDEX factors_of_subject ON factors (realm, subject, created_at, id);

CREATE UNIQUE INDEX factors_one_code_set ON factors (realm, subject) WHERE method = 'backup_code';

CREATE UNIQUE INDEX factors_one_pending ON factors (realm, subject, method) WHERE state = 'PENDING';

CREATE UNIQUE INDEX factors_unique_digest ON factors (realm, method, unique_digest)
  WHERE unique_digest IS NOT NULL AND state = 'ACTIVE';

CREATE TABLE issued_codes (
  bearer_id TEXT NOT NULL,
  method TEXT NOT NULL CHECK (method IN ('sms', 'push', 'webauthn')),
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  factor_id TEXT NOT NULL,
  digest BLOB NOT NULL,
  sealed BLOB NOT NULL,
  issued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (bearer_id, method)
) STRICT;

CREATE INDEX issued_codes_expiry ON issued_codes (expires_at);

CREATE INDEX issued_codes_of_subject ON issued_codes (realm, subject);

CREATE TABLE marks (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE notices (
  id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  type TEXT NOT NULL,
  method TEXT,
  facts TEXT NOT NULL,
  noted_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  former_factor TEXT,
  former_number BLOB,
  CHECK ((former_factor IS NULL) = (former_number IS NULL))
) STRICT;

CREATE INDEX notices_due ON notices (due_at);

CREATE INDEX notices_of_subject ON notices (realm, subject);

CREATE TABLE push_keys (
  name TEXT NOT NULL PRIMARY KEY CHECK (name = 'vapid'),
  public_key TEXT NOT NULL,
  sealed_private BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE request_claims (
  key TEXT NOT NULL PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  seed BLOB NOT NULL,
  approved INTEGER CHECK (approved IN (0, 1)),
  expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX request_claims_expiry ON request_claims (expires_at);

CREATE TABLE rotated_device_tokens (
  realm TEXT NOT NULL,
  token_digest TEXT NOT NULL,
  device_id TEXT NOT NULL REFERENCES trusted_devices (id) ON DELETE CASCADE,
  rotated_at INTEGER NOT NULL,
  PRIMARY KEY (realm, token_digest)
) STRICT;

CREATE INDEX rotated_device_tokens_of_device ON rotated_device_tokens (device_id);

CREATE TABLE schema_migrations (
  version INTEGER NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at BIGINT NOT NULL
);

CREATE TABLE send_windows (
  realm TEXT NOT NULL,
  scope TEXT NOT NULL,
  sends TEXT NOT NULL,
  keep_until INTEGER NOT NULL,
  PRIMARY KEY (realm, scope)
) STRICT;

CREATE INDEX send_windows_expiry ON send_windows (keep_until);

CREATE TABLE session_change_heads (
  realm TEXT NOT NULL PRIMARY KEY,
  head INTEGER NOT NULL,
  trimmed INTEGER NOT NULL CHECK (trimmed <= head)
) STRICT;

CREATE TABLE session_changes (
  realm TEXT NOT NULL,
  position INTEGER NOT NULL,
  session_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  end_reason TEXT,
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (realm, position)
) STRICT;

CREATE INDEX session_changes_of_subject ON session_changes (realm, subject) WHERE subject <> '';

CREATE UNIQUE INDEX session_changes_one_end ON session_changes (session_id) WHERE end_reason IS NOT NULL;

CREATE TABLE sessions (
  id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  token_digest TEXT NOT NULL,
  sealed_device BLOB NOT NULL,
  amr TEXT NOT NULL,
  acr TEXT NOT NULL,
  mfa_at INTEGER,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  idle_ms INTEGER NOT NULL CHECK (idle_ms > 0),
  lapses_at INTEGER NOT NULL GENERATED ALWAYS AS (
    CASE WHEN last_used_at + idle_ms < expires_at THEN last_used_at + idle_ms ELSE expires_at END
  ) STORED,
  labels TEXT NOT NULL,
  risk_changes TEXT,
  step_up_required INTEGER NOT NULL DEFAULT 0 CHECK (step_up_required IN (0, 1)),
  ended_at INTEGER,
  end_reason TEXT CHECK (
    end_reason IN ('LOGOUT', 'REVOKED', 'OPERATOR', 'EVICTED', 'EXPIRED', 'IDLE', 'HIJACK', 'FACTOR_CHANGE', 'ERASED')
  ),
  UNIQUE (realm, token_digest),
  CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) STRICT;

CREATE INDEX sessions_due ON sessions (lapses_at) WHERE ended_at IS NULL;

CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE INDEX sessions_live_of_subject ON sessions (realm, subject, lapses_at) WHERE ended_at IS NULL;

CREATE INDEX sessions_of_subject ON sessions (realm, subject, created_at, id);

CREATE TABLE signing_keys (
  id TEXT NOT NULL PRIMARY KEY,
  use TEXT NOT NULL CHECK (use IN ('receipt', 'checkpoint')),
  public_jwk TEXT NOT NULL,
  sealed_private BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  retired_at INTEGER
) STRICT;

CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (use) WHERE retired_at IS NULL;

CREATE TABLE spent_receipts (
  receipt_id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  spent_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX spent_receipts_expiry ON spent_receipts (expires_at);

CREATE TABLE sqlite_sequence(name,seq);

CREATE TABLE subjects (
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  ref TEXT NOT NULL UNIQUE,
  sealed_key BLOB NOT NULL,
  PRIMARY KEY (realm, subject)
) STRICT;

CREATE TABLE temporary_passes (
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  digest BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (realm, subject)
) STRICT;

CREATE TABLE trusted_devices (
  id TEXT NOT NULL PRIMARY KEY,
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  token_digest TEXT NOT NULL,
  display_name TEXT NOT NULL,
  sealed_connection BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  revoke_reason TEXT CHECK (
    revoke_reason IN ('REVOKED', 'EVICTED', 'TOKEN_REUSED', 'FACTOR_CHANGE', 'RESET', 'NOT_ME')
  ),
  UNIQUE (realm, token_digest),
  CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL))
) STRICT;

CREATE INDEX trusted_devices_expiry ON trusted_devices (expires_at);

CREATE INDEX trusted_devices_of_subject ON trusted_devices (realm, subject, last_used_at);
