/** Who may call what; the proto's `Role` in lower case. */
export type Role = 'application' | 'gateway' | 'operator' | 'portal';

/** Who called, as the transport established it, and how to find the call again. */
export interface Caller {
  readonly roles: ReadonlySet<Role>;
  /** Stable name for binding and audit: the listener and, where there is one, the verified certificate name. */
  readonly name: string;
  /** Correlation id, in every log line, event and internal error of the call. */
  readonly correlationId: string;
}

/** Whether the caller may be told why a proof was refused. The portal is what end users reach, so it may not. */
export function mayKnow(caller: Caller): boolean {
  return caller.roles.has('application') || caller.roles.has('operator');
}

/** What the application knows of the end user's connection. Absent fields are empty strings. */
export interface ClientContext {
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly deviceId: string;
}

export const NO_CLIENT: ClientContext = { ipAddress: '', userAgent: '', deviceId: '' };
