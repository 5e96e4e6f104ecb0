/**
 * What each role of a sidecar may do with each table and function of the schema. A test compares both lists with what the
 * migrations make.
 */

/** `state`: the role in `postgres.url`. `audit`: the one in `postgres.audit_url`, which adds to the trail and reads nothing. */
export type Access = 'state' | 'audit';
export type Rights = Readonly<Partial<Record<Access, readonly Privilege[]>>>;
export type Privilege = 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE' | 'EXECUTE';

const STATE: Rights = { state: ['SELECT', 'INSERT', 'UPDATE', 'DELETE'] };
/** Nobody but the owner changes or takes away anything of it. */
const TRAIL: Rights = { state: ['SELECT'], audit: ['INSERT'] };

export const TABLE_RIGHTS: Readonly<Record<string, Rights>> = {
  attempts: STATE,
  audit_chains: TRAIL,
  audit_checkpoint_keys: TRAIL,
  audit_checkpoints: TRAIL,
  audit_events: TRAIL,
  audit_prunes: { state: ['SELECT'] },
  backup_codes: STATE,
  challenges: STATE,
  consents: STATE,
  erasures: STATE,
  factors: STATE,
  issued_codes: STATE,
  marks: STATE,
  notices: STATE,
  push_keys: STATE,
  request_claims: STATE,
  rotated_device_tokens: STATE,
  schema_migrations: { state: ['SELECT'] },
  send_windows: STATE,
  session_change_heads: STATE,
  session_changes: STATE,
  sessions: STATE,
  signing_keys: STATE,
  spent_receipts: STATE,
  // The flush brings keys that were made while the database was away; only the sidecar reads them, and erases.
  subject_keys: { state: ['SELECT', 'INSERT', 'DELETE'], audit: ['INSERT'] },
  temporary_passes: STATE,
  trusted_devices: STATE,
};

export const FUNCTION_RIGHTS: Readonly<Record<string, Rights>> = {
  'audit_admit(text[], bigint[], bigint[])': { audit: ['EXECUTE'] },
  'audit_head(text)': { audit: ['EXECUTE'] },
  'audit_horizon()': { state: ['EXECUTE'] },
  'audit_prepare(integer)': { audit: ['EXECUTE'] },
  // Finds or makes the key of a person, sealed; by the connection of either role, whichever is free.
  'audit_subject_key(text, text, text, bytea)': { state: ['EXECUTE'], audit: ['EXECUTE'] },
};

/** The privileges of a role that has all of these kinds of access. */
export function privilegesOf(rights: Rights, access: readonly Access[]): readonly Privilege[] {
  return [...new Set(access.flatMap((one) => rights[one] ?? []))];
}
