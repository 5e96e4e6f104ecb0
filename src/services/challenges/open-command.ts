import type { Action, Sensitivity } from '#src/domain/action.ts';
import type { ClientContext } from '#src/domain/caller.ts';
import type { ChallengePurpose } from '#src/domain/challenge.ts';
import type { Method } from '#src/domain/method.ts';

/** What a caller asks for when it opens a challenge. */
export interface OpenCommand {
  readonly realm: string;
  /** '' when the session says it. */
  readonly subject: string;
  /** '' for none. */
  readonly sessionToken: string;
  readonly purpose: ChallengePurpose;
  readonly action: Action;
  readonly sensitivity: Sensitivity | undefined;
  /** Narrows; empty means all that the policy allows. */
  readonly methods: readonly Method[];
  /** '' means the realm. */
  readonly audience: string;
  readonly client: ClientContext;
  readonly requestId: string;
  /** Chosen at once. */
  readonly method: Method | undefined;
  /** Of a device that was remembered, as it came; '' for none. */
  readonly trustedDeviceToken: string;
  /** BCP 47, of what is sent to the person; '' for the configured one. */
  readonly language: string;
}

/** What makes a difference beside `addedFields`, in a fixed order. */
export function fingerprintFields(command: OpenCommand): readonly string[] {
  const { client } = command;
  return [
    command.subject,
    command.sessionToken,
    command.purpose,
    command.sensitivity ?? '',
    command.audience,
    command.method ?? '',
    command.methods.join(','),
    client.ipAddress,
    client.userAgent,
    client.deviceId,
    ...fingerprintOfAction(command.action),
  ];
}

/** What came later, in a fixed order. */
export function addedFields({ trustedDeviceToken, language }: OpenCommand): readonly string[] {
  return [trustedDeviceToken, language];
}

export function fingerprintOfAction(action: Action): readonly string[] {
  const details = [...action.details].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return [action.resource, action.action, ...details.flat()];
}
