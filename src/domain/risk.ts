import { hash } from 'node:crypto';
import { canonicalAddress } from './address.ts';
import type { ClientContext } from './caller.ts';
import type { Device, Location } from './session.ts';
import type { EpochMs } from './time.ts';
import { isImpossibleTravel, type Sighting } from './travel.ts';

/** Something that hints at a stolen token; the proto's `RiskSignal` without its prefix. */
export type RiskSignal =
  | 'ADDRESS_CHANGED'
  | 'AGENT_CHANGED'
  | 'DEVICE_CHANGED'
  | 'IMPOSSIBLE_TRAVEL'
  | 'ADDRESS_UNKNOWN';

/** What a signal leads to; each includes the ones before it, except `ignore`. */
export type RiskReaction = 'ignore' | 'audit' | 'step_up' | 'end';

export type RiskReactions = Readonly<Record<RiskSignal, RiskReaction>>;

/** Addresses change all day on the move; another browser, device or continent under the same token does not. */
export const DEFAULT_REACTIONS: RiskReactions = {
  ADDRESS_CHANGED: 'audit',
  AGENT_CHANGED: 'step_up',
  DEVICE_CHANGED: 'step_up',
  IMPOSSIBLE_TRAVEL: 'step_up',
  ADDRESS_UNKNOWN: 'audit',
};

/** A connection as it was now seen, with what was found out about it. */
export interface Connection extends ClientContext {
  readonly browser: string;
  readonly operatingSystem: string;
  readonly location?: Location;
}

/** A signal and the change behind it: the same change gives the same text, without saying what the new value is. */
export interface Finding {
  readonly signal: RiskSignal;
  readonly change: string;
}

/**
 * The signals of a connection against the device the session was made on. A value that the session never had cannot
 * change, with one exception: an address that is missing or unreadable is a signal of its own, always.
 */
export function findSignals(
  device: Device,
  lastSeen: Sighting | undefined,
  now: Connection,
  at: EpochMs,
): readonly Finding[] {
  const findings: Finding[] = [];
  const found = (signal: RiskSignal, value: string) => {
    findings.push({ signal, change: `${signal}:${hash('sha256', value, 'base64url').slice(0, 16)}` });
  };
  const address = canonicalAddress(now.ipAddress);
  if (address === undefined) found('ADDRESS_UNKNOWN', '');
  else if (device.ipAddress !== '' && address !== device.ipAddress) found('ADDRESS_CHANGED', address);
  if (device.userAgent !== '' && agentOf(device) !== agentOf(now)) found('AGENT_CHANGED', agentOf(now));
  if (device.deviceId !== '' && device.deviceId !== now.deviceId) found('DEVICE_CHANGED', now.deviceId);
  if (lastSeen && now.location && isImpossibleTravel(lastSeen, { location: now.location, at })) {
    found('IMPOSSIBLE_TRAVEL', `${now.location.latitude} ${now.location.longitude}`);
  }
  return findings;
}

/** The strongest reaction to the findings. */
export function reactionTo(findings: readonly Finding[], reactions: RiskReactions): RiskReaction {
  const order: readonly RiskReaction[] = ['ignore', 'audit', 'step_up', 'end'];
  let strongest = 0;
  for (const { signal } of findings) strongest = Math.max(strongest, order.indexOf(reactions[signal]));
  return order[strongest] ?? 'end';
}

/**
 * Browser family and system without versions, so that an update is not a change. A program that is no known browser
 * goes by its product name (RFC 9110 section 10.1.5).
 */
function agentOf(of: {
  readonly browser: string;
  readonly operatingSystem: string;
  readonly userAgent: string;
}): string {
  const family = withoutVersion(of.browser) || (of.userAgent.split(/[/\s]/, 1)[0] ?? '');
  return `${family}\n${withoutVersion(of.operatingSystem)}`;
}

function withoutVersion(name: string): string {
  return name.replace(/ [\d.]+$/, '');
}
