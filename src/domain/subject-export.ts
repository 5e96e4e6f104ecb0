import type { Challenge } from './challenge.ts';
import type { Consent, Factor } from './factor.ts';
import type { Budget } from './failure-budget.ts';
import type { Notice } from './notice.ts';
import type { Session } from './session.ts';
import type { EpochMs } from './time.ts';
import type { DeviceRevocation, TrustedDevice } from './trusted-device.ts';

/**
 * What is kept of a person, in the form in which the person may have it (GDPR articles 15 and 20). The keys are those of the
 * document; docs/schemas/subject-export.schema.json says them for machines, docs/privacy.md for people. Numbers and
 * addresses are whole, since they are the person's own; what proves presence (secrets, codes, tokens, their digests, the
 * address of a push subscription) is left out.
 */
export const EXPORT_FORMAT = 'sallyport.subject-export/1';

/** The lists of the document, in their order. */
export const EXPORT_LISTS = [
  'consents',
  'factors',
  'sessions',
  'trusted_devices',
  'challenges',
  'notices',
  'events',
] as const;
export type ExportList = (typeof EXPORT_LISTS)[number];

/** An entry of a list; what is undefined is left out. */
export type ExportEntry = Readonly<Record<string, unknown>>;

/** RFC 3339, UTC, with milliseconds. */
export function exportInstant(at: EpochMs): string {
  return Temporal.Instant.fromEpochMilliseconds(Math.trunc(at)).toString({ fractionalSecondDigits: 3 });
}

const optional = (at: EpochMs | undefined) => (at === undefined ? undefined : exportInstant(at));

/** What comes before the lists. */
export function exportHead(head: {
  readonly realm: string;
  readonly subject: string;
  readonly now: EpochMs;
  readonly budget: Budget;
  readonly passExpiresAt: EpochMs | undefined;
}): ExportEntry {
  const { recent, consecutive, lockedUntil, hardLocked } = head.budget;
  return {
    format: EXPORT_FORMAT,
    exported_at: exportInstant(head.now),
    realm: head.realm,
    subject: head.subject,
    attempts: {
      recent,
      consecutive,
      locked_until: lockedUntil > 0 ? exportInstant(lockedUntil) : null,
      hard_locked: hardLocked,
    },
    temporary_pass_expires_at: optional(head.passExpiresAt) ?? null,
  };
}

/** `address` in full, '' when unknown. */
export function exportConsent(consent: Consent, address: string): ExportEntry {
  return {
    id: consent.id,
    method: consent.method,
    text_version: consent.textVersion,
    language: consent.language,
    granted_at: exportInstant(consent.grantedAt),
    withdrawn_at: optional(consent.withdrawnAt),
    ip_address: address,
  };
}

/** `held`: what the factor is reached at or known by, see `heldOf`. */
export function exportFactor(factor: Factor, held: ExportEntry): ExportEntry {
  return {
    id: factor.id,
    method: factor.method,
    display_name: factor.displayName,
    state: factor.state,
    freeze_reason: factor.freezeReason,
    created_at: exportInstant(factor.createdAt),
    confirmed_at: optional(factor.confirmedAt),
    last_used_at: optional(factor.lastUsedAt),
    codes_left: factor.method === 'backup_code' ? factor.codesLeft : undefined,
    ...held,
  };
}

/**
 * Of an opened factor secret what is the person's to know: the number that messages go to, the host of the push service, the
 * id of the credential. Seeds and keys stay where they are.
 */
export function heldOf(factor: Pick<Factor, 'method'>, secret: Uint8Array): ExportEntry {
  const text = Buffer.from(secret).toString('utf8');
  switch (factor.method) {
    case 'sms':
      return { phone_number: text };
    case 'push':
      return { push_service: URL.parse(textIn(text, 'endpoint'))?.host ?? '' };
    case 'webauthn':
      return { credential_id: textIn(text, 'id') };
    case 'totp':
    case 'backup_code':
      return {};
  }
}

function textIn(json: string, name: string): string {
  const value: unknown = json === '' ? {} : JSON.parse(json);
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
  return typeof found === 'string' ? found : '';
}

export function exportSession(session: Session): ExportEntry {
  const { device } = session;
  const { location } = device;
  return {
    id: session.id,
    created_at: exportInstant(session.createdAt),
    last_used_at: exportInstant(session.lastUsedAt),
    expires_at: exportInstant(session.expiresAt),
    ended_at: optional(session.endedAt),
    end_reason: session.endReason,
    acr: session.acr,
    amr: session.amr,
    mfa_at: optional(session.mfaAt),
    ip_address: device.ipAddress,
    user_agent: device.userAgent,
    device_id: device.deviceId,
    browser: device.browser,
    operating_system: device.operatingSystem,
    location: location && {
      country_code: location.countryCode,
      city: location.city,
      latitude: location.latitude,
      longitude: location.longitude,
    },
    labels: session.labels,
    risk: session.risk && {
      step_up_required: session.risk.stepUpRequired,
      // Behind the colon there is a digest, for comparing.
      signals: [...new Set(session.risk.changes.map((change) => change.split(':', 1)[0] ?? ''))],
    },
  };
}

/** A trusted device with what became of it. */
export interface KeptDevice extends TrustedDevice {
  readonly revokedAt?: EpochMs;
  readonly revokeReason?: DeviceRevocation;
}

/** `connection`: what was sealed, opened; JSON of an object. */
export function exportDevice(device: KeptDevice, connection: Uint8Array): ExportEntry {
  const opened: unknown = JSON.parse(Buffer.from(connection).toString('utf8'));
  return {
    id: device.id,
    display_name: device.displayName,
    created_at: exportInstant(device.createdAt),
    last_used_at: exportInstant(device.lastUsedAt),
    expires_at: exportInstant(device.expiresAt),
    revoked_at: optional(device.revokedAt),
    revoke_reason: device.revokeReason,
    connection: opened,
  };
}

export function exportChallenge(challenge: Challenge): ExportEntry {
  const { action } = challenge;
  return {
    id: challenge.id,
    session_id: challenge.sessionId === '' ? undefined : challenge.sessionId,
    opened_by: challenge.openedBy,
    purpose: challenge.purpose,
    resource: action.resource,
    action: action.action,
    details: Object.fromEntries(action.details),
    sensitivity: challenge.sensitivity,
    audience: challenge.audience,
    state: challenge.state,
    approval_reason: challenge.approvalReason,
    offered_methods: [...new Set(challenge.offers.map(({ method }) => method))],
    chosen_method: challenge.chosenMethod,
    proven_method: challenge.provenMethod,
    proven_factor_id: challenge.provenFactorId,
    delivery: challenge.delivery && {
      method: challenge.delivery.method,
      status: challenge.delivery.status,
      reason: challenge.delivery.reason,
      at: exportInstant(challenge.delivery.at),
    },
    created_at: exportInstant(challenge.createdAt),
    expires_at: exportInstant(challenge.expiresAt),
    settled_at: optional(challenge.settledAt),
  };
}

/** A notice that waits to be sent. */
export function exportNotice({ id, type, method, at, facts }: Notice): ExportEntry {
  return { id, type, method, at: exportInstant(at), facts };
}

/** What of a stored event is about the person; its place in the chain shows that it is one of the trail. */
export interface ExportableEvent {
  readonly id: string;
  readonly type: string;
  readonly at: EpochMs;
  readonly outcome: string;
  readonly reason: string;
  readonly caller: string;
  readonly challengeId: string;
  readonly sessionId: string;
  readonly factorId: string;
  readonly method?: string;
  readonly count: number;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly facts: readonly { readonly key: string; readonly value: string }[];
  readonly chainId: string;
  readonly sequence: number;
}

export function exportEvent(event: ExportableEvent): ExportEntry {
  const present = (text: string) => (text === '' ? undefined : text);
  return {
    id: event.id,
    type: event.type,
    at: exportInstant(event.at),
    outcome: event.outcome,
    reason: present(event.reason),
    caller: event.caller,
    challenge_id: present(event.challengeId),
    session_id: present(event.sessionId),
    factor_id: present(event.factorId),
    method: event.method,
    count: event.count,
    ip_address: present(event.ipAddress),
    user_agent: present(event.userAgent),
    facts: Object.fromEntries(event.facts.map(({ key, value }) => [key, value])),
    chain_id: event.chainId,
    sequence: event.sequence,
  };
}
