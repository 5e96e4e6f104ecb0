import { setTimeout as pause } from 'node:timers/promises';
import {
  type AnswerChallengeResponse,
  ChallengePurpose,
  ChallengeService,
  DeliveryStatus,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import type { GrpcClient } from './grpc-client.ts';
import { CONSENT, signIn, TRANSFER } from './people.ts';
import type { PushServiceStandIn } from './push-service-stand-in.ts';
import { SoftwareAuthenticator } from './software-authenticator.ts';
import { SoftwarePushDevice } from './software-push-device.ts';
import { backupCode, totp } from './step-up.ts';
import { oathtoolCode } from './totp-code.ts';
import type { TwilioStandIn } from './twilio-stand-in.ts';
import { answerWith, beginKey, optionsOf, proveBy } from './webauthn-calls.ts';

/** What people live among. Calls go to whichever sidecar comes up. */
export interface Surroundings {
  readonly client: () => GrpcClient;
  readonly twilio: TwilioStandIn;
  readonly push: PushServiceStandIn;
  /** The key that browsers subscribe with. */
  readonly vapidKey: string;
  /** Posts as the page of a device does, to whichever sidecar comes up. */
  readonly post: (path: string, body: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>>>;
  /** Whether a message that the provider took is lost on its way to the phone. */
  readonly isLost: () => boolean;
  readonly webauthnOrigin: string;
}

export type Way = 'totp' | 'sms' | 'push' | 'webauthn' | 'backup_code';

/** How one challenge went, as the person saw it. */
export interface Outcome {
  readonly way: Way;
  readonly approved: boolean;
  /** What it was approved by in the end. */
  readonly by: Way | undefined;
  readonly seconds: number;
  /** What did not work, in order. */
  readonly troubles: readonly string[];
}

type Step =
  | ReturnType<typeof totp>
  | ReturnType<typeof backupCode>
  | { readonly case: 'choose'; readonly value: { readonly method: Method } }
  | { readonly case: 'resend'; readonly value: Record<string, never> }
  | {
      readonly case: 'proof';
      readonly value: { readonly kind: { readonly case: 'sms'; readonly value: { readonly code: string } } };
    };

const STEP_MS = 30_000;
const LIFE_MS = 60_000;
/** How long people look at a phone on which nothing happens, before they press the button again, and after that. */
const PATIENCE_MS = 10_000;
const LOOK_MS = 100;

const { method: challenge } = ChallengeService;
const { method: factor } = FactorService;

/**
 * Somebody with every factor, who does as people do: takes the method that they chose, waits for a message, asks for it
 * once more, and takes another method when they are told that it failed or nothing comes.
 */
export class HonestPerson {
  readonly subject: string;
  readonly #around: Surroundings;
  readonly #number: string;
  readonly #key: SoftwareAuthenticator;
  #device = new SoftwarePushDevice();
  #token = '';
  #seed = '';
  #backupCodes: string[] = [];
  #lastStep = 0;

  constructor(around: Surroundings, index: number) {
    this.#around = around;
    this.subject = `honest-${index}`;
    this.#number = `+1415555${String(2_000 + index * 7)}`;
    this.#key = new SoftwareAuthenticator({ origin: around.webauthnOrigin });
  }

  /** Enrols everything while nothing is wrong: the key first, which proves the rest. */
  async enrol(): Promise<void> {
    const { client, twilio, push, vapidKey } = this.#around;
    const { subject } = this;
    this.#token = (await signIn(client(), subject)).token;
    const person = { subject, token: this.#token };
    const { factorId, optionsJson } = await beginKey(client(), person);
    const { backupCodes } = await client().unary(factor.confirmEnrollment, {
      subject,
      factorId,
      proof: { case: 'webauthnCredentialJson', value: this.#key.register(optionsJson) },
    });
    this.#backupCodes = [...backupCodes];

    const receiptFor = (method: string) =>
      proveBy(client(), person, this.#key, { action: 'factor.enroll', resource: `factors/${method}` });
    const begin = async (method: Method, name: string, extra: Readonly<Record<string, unknown>> = {}) =>
      await client().unary(factor.beginEnrollment, {
        subject,
        method,
        receipt: await receiptFor(name),
        consent: CONSENT,
        ...extra,
      });
    const confirm = (id: string, proof: { readonly case: 'code'; readonly value: string }) =>
      client().unary(factor.confirmEnrollment, { subject, factorId: id, proof });

    const app = await begin(Method.TOTP, 'totp');
    if (app.material.case !== 'totp') throw new Error('expected TOTP material');
    this.#seed = app.material.value.manualKey.replaceAll(' ', '');
    await confirm(app.factor?.id ?? '', { case: 'code', value: await this.#nextCode() });

    const phone = await begin(Method.SMS, 'sms', { phoneNumber: this.#number });
    await confirm(phone.factor?.id ?? '', { case: 'code', value: await twilio.codeSentTo(this.#number) });

    const subscription = push.subscribe(vapidKey);
    this.#device = new SoftwarePushDevice(subscription);
    const browser = await begin(Method.PUSH, 'push', {
      pushSubscriptionJson: subscription.json,
      devicePublicKey: this.#device.publicKey,
    });
    if (browser.material.case !== 'pushChallenge') throw new Error('expected bytes to sign');
    await client().unary(factor.confirmEnrollment, {
      subject,
      factorId: browser.factor?.id ?? '',
      proof: { case: 'pushSignature', value: this.#device.sign(browser.material.value) },
    });
  }

  /** One challenge, begun with this method. Never rejects. */
  async prove(way: Way): Promise<Outcome> {
    const began = performance.now();
    const troubles: string[] = [];
    const until = began + LIFE_MS;
    const told = (by: Way | undefined): Outcome => ({
      way,
      approved: by !== undefined,
      by,
      seconds: (performance.now() - began) / 1_000,
      troubles,
    });
    try {
      const id = await this.#open(way);
      const others: readonly Way[] = way === 'backup_code' ? [] : ['webauthn', 'totp'];
      for (const by of [way, ...others.filter((other) => other !== way)]) {
        if (performance.now() >= until) break;
        try {
          const trouble = await this.#proveBy(by, id, until);
          if (trouble === undefined) return told(by);
          troubles.push(`${by}: ${trouble}`);
        } catch (error) {
          troubles.push(`${by}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    } catch (error) {
      troubles.push(`open: ${error instanceof Error ? error.message : String(error)}`);
    }
    return told(undefined);
  }

  async #open(way: Way): Promise<string> {
    const { subject } = this;
    const opened = await this.#around.client().unary(
      challenge.openChallenge,
      way === 'backup_code'
        ? { subject, purpose: ChallengePurpose.LOGIN, sensitivity: Sensitivity.SENSITIVE }
        : {
            sessionToken: this.#token,
            action: TRANSFER,
            // SMS is for those who have nothing stronger, where it is critical.
            sensitivity: way === 'sms' ? Sensitivity.SENSITIVE : Sensitivity.CRITICAL,
          },
    );
    return opened.challenge?.id ?? '';
  }

  /** Undefined when approved; otherwise what the person saw. */
  async #proveBy(way: Way, challengeId: string, until: number): Promise<string | undefined> {
    switch (way) {
      case 'totp':
        return this.#answered(await this.#answer(challengeId, totp(await this.#nextCode())));
      case 'backup_code':
        return this.#answered(await this.#answer(challengeId, backupCode(this.#backupCodes.pop() ?? ''), ''));
      case 'webauthn': {
        const person = { subject: this.subject, token: this.#token };
        const options = await optionsOf(this.#around.client(), person, challengeId);
        return this.#answered(await answerWith(this.#around.client(), person, challengeId, this.#key.assert(options)));
      }
      case 'sms':
        return this.#bySms(challengeId, until);
      case 'push':
        return this.#byPush(challengeId, until);
    }
  }

  async #bySms(challengeId: string, until: number): Promise<string | undefined> {
    const { twilio, isLost } = this.#around;
    for (const step of ['choose', 'resend'] as const) {
      const before = this.#messages().length;
      await this.#answer(
        challengeId,
        step === 'choose' ? { case: 'choose', value: { method: Method.SMS } } : { case: 'resend', value: {} },
      );
      const message = () => this.#messages()[before];
      const seen = await this.#watch(challengeId, () => message() !== undefined, until);
      if (seen === 'failed') return 'was not sent';
      const arrived = message();
      if (seen === 'nothing' || !arrived) continue;
      if (isLost()) {
        await twilio.report(arrived.sid, 'undelivered', { errorCode: 30003 });
        if ((await this.#watch(challengeId, () => false, until)) === 'failed') return 'did not arrive';
        continue;
      }
      await twilio.report(arrived.sid, 'delivered');
      const code = /(?<![0-9])[0-9]{6}(?![0-9])/.exec(arrived.body)?.[0] ?? '';
      return this.#answered(
        await this.#answer(challengeId, { case: 'proof', value: { kind: { case: 'sms', value: { code } } } }),
      );
    }
    return 'nothing came';
  }

  async #byPush(challengeId: string, until: number): Promise<string | undefined> {
    const { push, post } = this.#around;
    const { result } = await this.#answer(challengeId, { case: 'choose', value: { method: Method.PUSH } });
    if (result.case !== 'prompt') return `no prompt but ${result.case}`;
    const { number } = result.value;
    const told = () =>
      push.deliveries.find(({ endpoint, text }) => endpoint === this.#device.endpoint && text.includes(challengeId));
    const seen = await this.#watch(challengeId, () => told() !== undefined, until);
    const delivery = told();
    if (!delivery) return seen === 'failed' ? 'was not sent' : 'nothing came';
    const { factor: factorId, realm } = JSON.parse(delivery.text) as {
      readonly factor: string;
      readonly realm: string;
    };
    const at = { realm, challengeId, factorId };
    const view = await post('/push/api/view', { ...this.#device.look(at, Date.now()) });
    const shown = view as never as { readonly subject: string; readonly actionDigest: string };
    const { outcome } = await post('/push/api/answer', { ...this.#device.reply(at, shown, 'approve', number) });
    return outcome === 'approved' ? undefined : `the device was told ${String(outcome)}`;
  }

  /** Looks at the phone, and at the page, which says when it failed. */
  async #watch(challengeId: string, came: () => boolean, until: number): Promise<'came' | 'failed' | 'nothing'> {
    const end = Math.min(until, performance.now() + PATIENCE_MS);
    let looks = 0;
    while (performance.now() < end) {
      if (came()) return 'came';
      looks += 1;
      if (looks % 5 === 0 && (await this.#hasFailed(challengeId))) return 'failed';
      await pause(LOOK_MS);
    }
    return 'nothing';
  }

  async #hasFailed(challengeId: string): Promise<boolean> {
    const read = await this.#around.client().unary(challenge.getChallenge, { challengeId, sessionToken: this.#token });
    return read.challenge?.delivery?.status === DeliveryStatus.FAILED;
  }

  /** One step of a challenge. */
  #answer(challengeId: string, step: Step, sessionToken = this.#token): Promise<AnswerChallengeResponse> {
    return this.#around.client().unary(challenge.answerChallenge, { challengeId, sessionToken, step });
  }

  #answered({ result }: AnswerChallengeResponse): string | undefined {
    return result.case === 'finished' && result.value.receipt ? undefined : `answered ${result.case}`;
  }

  #messages() {
    return this.#around.twilio.messages.filter(({ to }) => to === this.#number);
  }

  /** The code that the app shows; one that was used is waited out. */
  async #nextCode(): Promise<string> {
    while (Math.floor(Date.now() / STEP_MS) <= this.#lastStep) await pause(250);
    const now = Date.now();
    this.#lastStep = Math.floor(now / STEP_MS);
    return oathtoolCode(this.#seed, 0, now);
  }
}
