import { setTimeout as pause } from 'node:timers/promises';
import type { Sensitivity as DomainSensitivity } from '#src/domain/action.ts';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { methodOf } from './api-calls.ts';
import type { WireAnswer, WireClient } from './wire-answers.ts';

const SENSITIVITY: Readonly<Record<DomainSensitivity, Sensitivity>> = {
  low: Sensitivity.LOW,
  normal: Sensitivity.NORMAL,
  sensitive: Sensitivity.SENSITIVE,
  critical: Sensitivity.CRITICAL,
};
const VALIDATE = methodOf('SessionService/ValidateSession');

/** Asks one sidecar whether a token is good for this use. */
export function validate(client: WireClient, token: string, use: DomainSensitivity = 'normal'): Promise<WireAnswer> {
  return client.call(VALIDATE, { token, sensitivity: SENSITIVITY[use] });
}

/** Asks again and again until stopped; answers all answers in order. */
export function watchSession(client: WireClient, token: string, use: DomainSensitivity = 'normal', everyMs = 20) {
  const answers: WireAnswer[] = [];
  let running = true;
  const watching = (async () => {
    while (running && !client.closed) {
      answers.push(await validate(client, token, use));
      await pause(everyMs);
    }
  })();
  return {
    answers,
    async stop(): Promise<readonly WireAnswer[]> {
      running = false;
      await watching;
      return answers;
    },
  };
}
