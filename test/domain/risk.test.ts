import { describe, expect, it } from 'vitest';
import { type Connection, DEFAULT_REACTIONS, findSignals, reactionTo } from '#src/domain/risk.ts';
import type { Device } from '#src/domain/session.ts';

const DEVICE: Device = {
  ipAddress: '203.0.113.7',
  userAgent: 'Mozilla/5.0 Firefox/145.0',
  deviceId: 'laptop',
  browser: 'Firefox 145',
  operatingSystem: 'Linux',
};
const SAME: Connection = { ...DEVICE };

function signals(device: Device, now: Connection) {
  return findSignals(device, undefined, now, 0).map(({ signal }) => signal);
}

describe('hijack signals', () => {
  it('are none for the same connection', () => {
    expect(signals(DEVICE, SAME)).toEqual([]);
  });

  it('tell another address, but not another spelling of it', () => {
    expect(signals(DEVICE, { ...SAME, ipAddress: '203.0.113.8' })).toEqual(['ADDRESS_CHANGED']);
    expect(signals(DEVICE, { ...SAME, ipAddress: '::ffff:203.0.113.7' })).toEqual([]);
  });

  it('tell an address that is missing or unreadable, whatever the session knew', () => {
    for (const device of [DEVICE, { ...DEVICE, ipAddress: '' }]) {
      expect(signals(device, { ...SAME, ipAddress: '' })).toEqual(['ADDRESS_UNKNOWN']);
      expect(signals(device, { ...SAME, ipAddress: 'unknown' })).toEqual(['ADDRESS_UNKNOWN']);
    }
  });

  it('tell another browser or system, but not another version', () => {
    const update = { ...SAME, userAgent: 'Mozilla/5.0 Firefox/146.0', browser: 'Firefox 146' };
    expect(signals(DEVICE, update)).toEqual([]);
    expect(signals(DEVICE, { ...SAME, browser: 'Chrome 141' })).toEqual(['AGENT_CHANGED']);
    expect(signals(DEVICE, { ...SAME, operatingSystem: 'Windows 11' })).toEqual(['AGENT_CHANGED']);
    expect(signals(DEVICE, { ...SAME, userAgent: '', browser: '', operatingSystem: '' })).toEqual(['AGENT_CHANGED']);
  });

  it('know programs that are no browser by their product', () => {
    const app: Device = { ...DEVICE, userAgent: 'BankApp/4.1 (build 9)', browser: '', operatingSystem: '' };
    expect(signals(app, { ...app, userAgent: 'BankApp/4.2' })).toEqual([]);
    expect(signals(app, { ...app, userAgent: 'curl/8.9' })).toEqual(['AGENT_CHANGED']);
  });

  it('tell another device id and a missing one, but nothing about one that was never known', () => {
    expect(signals(DEVICE, { ...SAME, deviceId: 'phone' })).toEqual(['DEVICE_CHANGED']);
    expect(signals(DEVICE, { ...SAME, deviceId: '' })).toEqual(['DEVICE_CHANGED']);
    expect(signals({ ...DEVICE, deviceId: '' }, { ...SAME, deviceId: 'phone' })).toEqual([]);
  });

  it('name the same change by the same text, and never by its value', () => {
    const there = { ...SAME, ipAddress: '198.51.100.9' };
    const [first] = findSignals(DEVICE, undefined, there, 0);
    expect(findSignals(DEVICE, undefined, there, 99)).toEqual([first]);
    expect(first?.change).not.toContain('198.51');
    const [other] = findSignals(DEVICE, undefined, { ...SAME, ipAddress: '198.51.100.10' }, 0);
    expect(other?.change).not.toBe(first?.change);
  });
});

describe('the reaction', () => {
  it('is the strongest of all signals, and nothing without one', () => {
    const findings = findSignals(DEVICE, undefined, { ...SAME, ipAddress: '', deviceId: 'phone' }, 0);
    expect(reactionTo([], DEFAULT_REACTIONS)).toBe('ignore');
    expect(reactionTo(findings, DEFAULT_REACTIONS)).toBe('step_up');
    expect(reactionTo(findings, { ...DEFAULT_REACTIONS, ADDRESS_UNKNOWN: 'end' })).toBe('end');
  });
});
