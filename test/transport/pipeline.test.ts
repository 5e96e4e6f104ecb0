import { describe, expect, it } from 'vitest';
import { Health } from '#src/gen/health/v1/health_pb.js';
import type { Mounted } from '#src/transport/call.ts';
import { ManualClock } from '../support/clock.ts';
import { Served, type ServedOptions } from '../support/transport.ts';

const VALIDATE = '/sallyport.v1.SessionService/ValidateSession';
const FOLLOW = '/sallyport.v1.SessionService/WatchRevocations';
const HEALTH = '/grpc.health.v1.Health/Watch';
const health: Mounted = {
  service: Health,
  handlers: { check: () => ({}), list: () => ({}), watch: async function* () {} },
};

function pipelineOf(options: ServedOptions = {}) {
  // Milliseconds of a real clock have fractions, and adding to them rounds.
  const served = new Served({ mounted: [health], clock: new ManualClock(), ...options });
  const { pipeline, listener, endpoints } = served;
  const admit = (procedure: string, timeoutMs?: number) => {
    const endpoint = endpoints.get(procedure);
    if (!endpoint) throw new Error(`${procedure} is not served`);
    const call = pipeline.open(endpoint, 'grpc', listener);
    pipeline.admit(call, listener, 'test', [], timeoutMs, undefined);
    return call;
  };
  return { ...served, pipeline, admit };
}

const LIMITED = expect.objectContaining({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });

describe('the time of a call', () => {
  it.each([
    [undefined, 5_000],
    [10, 10],
    [5_001, 5_000],
    [Number.MAX_SAFE_INTEGER, 5_000],
  ])('asked for as %s ms is %i ms', (asked, given) => {
    const call = pipelineOf().admit(VALIDATE, asked);
    expect(call.deadlineAt - call.startedAt).toBe(given);
  });
});

describe('open streams', () => {
  it('are bounded, and a place is free again once one is settled', () => {
    const { admit, pipeline, metrics } = pipelineOf({ limits: { maxOpenStreams: 2 } });
    const first = admit(FOLLOW);
    admit(FOLLOW);
    expect(() => admit(FOLLOW)).toThrow(LIMITED);
    expect(metrics.streams).toBe(2);
    pipeline.settle(first);
    admit(FOLLOW);
  });

  it('of probes and of callers have places of their own', () => {
    const { admit } = pipelineOf({ limits: { maxOpenStreams: 2 } });
    for (let open = 0; open < 128; open += 1) admit(HEALTH);
    expect(() => admit(HEALTH)).toThrow(LIMITED);
    admit(FOLLOW);
    admit(FOLLOW);
    expect(() => admit(FOLLOW)).toThrow(LIMITED);
  });
});

describe('a server that is stopping', () => {
  it('begins no stream, and still answers calls that were on their way', () => {
    const { admit, pipeline } = pipelineOf();
    pipeline.drain();
    expect(() => admit(FOLLOW)).toThrow(expect.objectContaining({ kind: 'unavailable', reason: 'SHUTTING_DOWN' }));
    expect(admit(VALIDATE).ended).toBeUndefined();
  });
});
