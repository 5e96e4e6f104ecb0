-- Every method: what was sent or issued, how often, which devices are trusted, who was reset or erased, what people have
-- to be told.

ALTER TABLE challenges ADD COLUMN delivery TEXT;
ALTER TABLE challenges ADD COLUMN language TEXT;

-- All that is one person's has to be found, to be shown and to be erased.
DROP INDEX challenges_open_of_subject;
CREATE INDEX challenges_of_subject ON challenges (realm, subject, created_at, id);
CREATE INDEX session_changes_of_subject ON session_changes (realm, subject) WHERE subject <> '';

ALTER TABLE factors ADD COLUMN sign_count INTEGER NOT NULL DEFAULT 0 CHECK (sign_count >= 0);
ALTER TABLE factors ADD COLUMN unique_digest BLOB;
ALTER TABLE factors ADD COLUMN freeze_reason TEXT CHECK (freeze_reason IN ('NOT_ME', 'CONSENT_WITHDRAWN', 'ENDPOINT_GONE'));
CREATE UNIQUE INDEX factors_unique_digest ON factors (realm, method, unique_digest)
  WHERE unique_digest IS NOT NULL AND state = 'ACTIVE';
CREATE INDEX factors_lapse ON factors (expires_at) WHERE state = 'PENDING';

-- The address of a consent is personal: sealed. What stands is what was not withdrawn: one per method, but for sidecars of
-- the release before, which withdraw nothing; so no index may insist on it.
ALTER TABLE consents ADD COLUMN withdrawn_at INTEGER;
ALTER TABLE consents ADD COLUMN sealed_address BLOB;
UPDATE consents SET withdrawn_at = granted_at WHERE EXISTS (
  SELECT 1 FROM consents AS newer
  WHERE newer.realm = consents.realm AND newer.subject = consents.subject AND newer.method = consents.method
    AND (newer.granted_at, newer.id) > (consents.granted_at, consents.id)
);
CREATE INDEX consents_standing ON consents (realm, subject, method) WHERE withdrawn_at IS NULL;

-- The newest code, number or nonce of a challenge or a pending enrolment; `bearer_id` names it.
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

-- Sends by scope: a person, a number, a prefix, a country, the realm. `sends` is JSON of domain/send-window.ts. Nothing
-- personal is in a scope: persons and numbers are keyed digests.
CREATE TABLE send_windows (
  realm TEXT NOT NULL,
  scope TEXT NOT NULL,
  sends TEXT NOT NULL,
  keep_until INTEGER NOT NULL,
  PRIMARY KEY (realm, scope)
) STRICT;
CREATE INDEX send_windows_expiry ON send_windows (keep_until);

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
CREATE INDEX trusted_devices_of_subject ON trusted_devices (realm, subject, last_used_at);
CREATE INDEX trusted_devices_expiry ON trusted_devices (expires_at);

-- Tokens that were rotated out, for as long as the device lives: whoever brings one has a copy.
CREATE TABLE rotated_device_tokens (
  realm TEXT NOT NULL,
  token_digest TEXT NOT NULL,
  device_id TEXT NOT NULL REFERENCES trusted_devices (id) ON DELETE CASCADE,
  rotated_at INTEGER NOT NULL,
  PRIMARY KEY (realm, token_digest)
) STRICT;
CREATE INDEX rotated_device_tokens_of_device ON rotated_device_tokens (device_id);

-- People whom an operator has reset: the pass stands until a first enrolment uses it up.
CREATE TABLE temporary_passes (
  realm TEXT NOT NULL,
  subject TEXT NOT NULL,
  digest BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (realm, subject)
) STRICT;

-- The outbox of what people have to be told. A number that went with the change is where the person was reached before it.
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

-- Who was erased, by pseudonym, for the sidecars that hold keys in memory.
CREATE TABLE erasures (
  position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  realm TEXT NOT NULL,
  subject_ref TEXT NOT NULL,
  erased_at INTEGER NOT NULL
) STRICT;

-- The key that push services know this fleet by (RFC 8292); browsers subscribe with its public half, so it never changes.
CREATE TABLE push_keys (
  name TEXT NOT NULL PRIMARY KEY CHECK (name = 'vapid'),
  public_key TEXT NOT NULL,
  sealed_private BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
