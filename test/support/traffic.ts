import { setTimeout as pause } from 'node:timers/promises';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import type { Fleet, FleetSettings } from './fleet.ts';
import { errorInfo, type GrpcClient } from './grpc-client.ts';
import { beginApp } from './people.ts';
import { SeededRandom } from './random.ts';
import { backupCode } from './step-up.ts';
import { oathtoolCode } from './totp-code.ts';
import { type KnownToken, TrafficCalls, TrafficRecord } from './traffic-calls.ts';

/**
 * Backup codes are good for the transfers of the traffic: ten proofs a person without waiting for the clock. PostgreSQL gets
 * time on a machine that is busy with other things too, so that it does not count as away when nothing is wrong with it.
 */
export const TRAFFIC_SETTINGS: FleetSettings = {
  SALLYPORT_POLICY_RULES: JSON.stringify([
    { match: { action: 'transfer.*' }, require: 'mfa_once', methods: ['totp', 'backup_code'] },
  ]),
  SALLYPORT_POSTGRES_READ_TIMEOUT: '600ms',
};

export interface TrafficOptions {
  /** Decides who does what where, as far as answers come in the same order. */
  readonly seed: string;
  /** Part of all names. */
  readonly name: string;
  readonly movers?: number;
}

interface Enrolled {
  readonly known: KnownToken;
  readonly codes: string[];
}

const TRIES = 40;
const PAUSE_MS = 200;
const ENROLMENTS = 10;
/** Dead tokens that a person goes on trying. */
const DEAD = 6;
/** For how long the tokens of a session that was just ended are tried everywhere, and how often. */
const CHASE_MS = 2_500;
const CHASE_STEP_MS = 150;

/**
 * People who are never quiet, at all sidecars of a fleet: they sign in and out, step up, prove and redeem, each thing that
 * is good once at several sidecars at the same time, and try what has ended again and again.
 */
export class Traffic {
  readonly record = new TrafficRecord();
  /** Tokens that were good when the traffic stopped, and some that had died. */
  readonly live: KnownToken[] = [];
  readonly dead: KnownToken[] = [];
  readonly #sidecars: readonly TrafficCalls[];
  readonly #random: SeededRandom;
  readonly #options: TrafficOptions;
  readonly #lanes: Promise<void>[] = [];
  readonly #victims = new Map<string, { readonly known: KnownToken; readonly challenges: readonly string[] }>();
  #running = true;
  #guesses = 0;

  private constructor(fleet: Fleet, options: TrafficOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    this.#sidecars = fleet.sidecars.map((sidecar, index) => new TrafficCalls(index, sidecar.client(), this.record));
  }

  /** Resolves when everybody is enrolled and goes about their business. */
  static async start(fleet: Fleet, options: TrafficOptions): Promise<Traffic> {
    const traffic = new Traffic(fleet, options);
    for (const victim of ['ann', 'bob']) await traffic.#prepareVictim(fleet.caller(0), victim);
    const movers: Enrolled[] = [];
    for (let number = 0; number < (options.movers ?? 2); number += 1)
      movers.push(
        await traffic.#enrol(fleet.caller(number % fleet.sidecars.length), `${options.name}-mover-${number}`),
      );
    // Only now, when nothing can fail any more before somebody may call `stop`.
    traffic.#lanes.push(...movers.map((enrolled) => traffic.#move(enrolled)), traffic.#crowd(`${options.name}-crowd`));
    return traffic;
  }

  /** Resolves when all calls under way are answered. Again does nothing. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#lanes);
  }

  /** Wrong codes for one of two victims, `ann` or `bob`: all at once, over all sidecars and several challenges. */
  async guess(victim: 'ann' | 'bob', count: number): Promise<void> {
    const of = this.#victims.get(victim);
    if (!of) throw new Error(`there is no ${victim}`);
    const guesses = Array.from({ length: count }, () => {
      const number = this.#guesses++;
      const challengeId = of.challenges[number % of.challenges.length] ?? '';
      return this.#at(number).guess(of.known, challengeId, String(number).padStart(6, '0'));
    });
    await Promise.all(guesses);
  }

  /** Asks every sidecar about every token that the traffic left; what is not as it must be, in words. */
  async aftermath(): Promise<readonly string[]> {
    const found: string[] = [];
    const ask = (tokens: readonly KnownToken[], expected: 'yes' | 'no') =>
      Promise.all(
        tokens.flatMap((known) =>
          this.#sidecars.map(async (sidecar) => {
            let answer = await sidecar.validate(known);
            // Who cannot tell is asked again: a database may be busy, but not for long.
            for (let tries = 1; answer === 'unknown' && tries < TRIES; tries += 1) {
              await pause(PAUSE_MS);
              answer = await sidecar.validate(known);
            }
            if (answer !== expected) found.push(`sidecar ${sidecar.index} says ${answer} to ${known.key}`);
          }),
        ),
      );
    await ask(this.live, 'yes');
    await ask(this.dead, 'no');
    return found;
  }

  /** Under a new name each time: who was not answered may have enrolled all the same. */
  async #enrol(client: GrpcClient, subject: string): Promise<Enrolled> {
    for (let tries = 1; tries <= ENROLMENTS; tries += 1) {
      const enrolled = await this.#enrolOnce(client, tries === 1 ? subject : `${subject}-${tries}`);
      if (enrolled) return enrolled;
      await pause(PAUSE_MS);
    }
    throw new Error(`${subject} could not be enrolled`);
  }

  /** Undefined when a busy database did not answer. */
  async #enrolOnce(client: GrpcClient, subject: string): Promise<Enrolled | undefined> {
    const known = await this.#at(0).signIn(subject);
    if (!known) return undefined;
    try {
      return { known, codes: await enrolApp(client, known) };
    } catch (error) {
      if (errorInfo(error).reason !== 'STORE_UNAVAILABLE') throw error;
      return undefined;
    }
  }

  async #prepareVictim(client: GrpcClient, victim: string): Promise<void> {
    const { known } = await this.#enrol(client, `${this.#options.name}-${victim}`);
    const opened = await Promise.all([0, 1, 2, 3].map((number) => this.#at(number).open(known)));
    const challenges = opened.filter((id) => id !== undefined);
    if (challenges.length === 0) throw new Error(`${victim} has no challenge`);
    this.#victims.set(victim, { known, challenges });
  }

  /** One person: mostly validations, with everything else in between. */
  async #move({ known, codes }: Enrolled): Promise<void> {
    const live = [known];
    const chases = new Set<Promise<void>>();
    // Sessions that there may be, without a token that is known: they count under the cap too.
    let unknown = 0;
    const bury = (dead: KnownToken) => {
      this.dead.push(dead);
      const chase = this.#chase(dead).finally(() => chases.delete(chase));
      chases.add(chase);
    };
    while (this.#running) {
      const what = this.#draw(100);
      if (what < 70) await this.#validate(this.#draw(3) === 0 ? this.#someDead() : pick(live, this.#draw(live.length)));
      else if (what < 82 && live.length + unknown < 4) {
        const made = await this.#any().signIn(known.subject);
        if (made) live.push(made);
        else unknown += 1;
      } else if (what < 90 && live.length > 1) {
        const [ended] = live.splice(this.#draw(live.length), 1);
        if (ended && (await this.#end(ended))) bury(ended);
        else unknown += 1;
      } else if (codes.length > 0) {
        const place = this.#draw(live.length);
        const before = live[place];
        const after = before && (await this.#proveOnce(before, codes.pop() ?? ''));
        if (!before || after === before) continue;
        live.splice(place, 1, ...(after ? [after] : []));
        if (after) bury(before);
        else unknown += 1;
        if (live.length === 0) break;
      }
      await pause(5 + this.#draw(20));
    }
    await Promise.all(chases);
    this.live.push(...live);
  }

  async #validate(known: KnownToken | undefined): Promise<void> {
    if (known) await Promise.all(this.#sidecars.map((sidecar) => sidecar.validate(known)));
  }

  /** Every sidecar has it in memory when one of them ends it. */
  async #end(known: KnownToken): Promise<boolean> {
    await this.#validate(known);
    return this.#any().revoke(known);
  }

  /** Everywhere for a while, from the moment at which its end was acknowledged. */
  async #chase(known: KnownToken): Promise<void> {
    for (const until = performance.now() + CHASE_MS; performance.now() < until; ) {
      await this.#validate(known);
      await pause(CHASE_STEP_MS);
    }
  }

  /**
   * One code for two challenges at two sidecars at once, then its receipt at all sidecars: redeemed, or for a new token.
   * Two, since all attempts under way count, and more in a row would lock an honest person out. The token that is good
   * afterwards; undefined when nobody knows.
   */
  async #proveOnce(known: KnownToken, code: string): Promise<KnownToken | undefined> {
    const first = this.#draw(this.#sidecars.length);
    const opened = await Promise.all([0, 1].map((number) => this.#at(first + number).open(known)));
    const followed = opened.map((id, index) =>
      id === undefined ? undefined : this.#at(first + index + 1).watch(known, id),
    );
    await Promise.all(followed.map((stream) => stream?.standing));
    const answers = await Promise.all(
      opened.map(async (id, index) => {
        if (id === undefined) return undefined;
        const answer = await this.#at(first + index + 2).prove(known, id, `code ${code}`, backupCode(code));
        return { id, index, answer, at: performance.now() };
      }),
    );
    const won = answers.find((each) => each?.answer.outcome === 'taken');
    for (const id of opened) if (id !== undefined && id !== won?.id) await this.#any().cancel(known, id);
    for (const stream of followed) {
      const end = await stream?.end;
      if (end !== undefined && end < Number.POSITIVE_INFINITY && stream === followed[won?.index ?? -1])
        this.record.followed.push(end - (won?.at ?? 0));
    }
    if (won?.answer.outcome !== 'taken') {
      const isKnown = answers.every((each) => each?.answer.outcome === 'refused');
      if (isKnown) this.record.wrong.push(`the right code ${code} was taken nowhere`);
      return known;
    }
    const { id, answer } = won;
    if (this.#draw(2) === 0) {
      const outcomes = await Promise.all(this.#sidecars.map((sidecar) => sidecar.redeem(known, id, answer.receipt)));
      if (outcomes.every((outcome) => outcome === 'refused'))
        this.record.wrong.push(`the receipt of ${id} was redeemed nowhere`);
      return known;
    }
    await this.#validate(known);
    const renewed = await Promise.all(this.#sidecars.map((sidecar) => sidecar.stepUp(known, id, answer.receipt)));
    return renewed.find((after) => after !== undefined);
  }

  /** Nobody ever has more sessions than the cap, however many sign in at once. */
  async #crowd(subject: string): Promise<void> {
    const known: KnownToken[] = [];
    while (this.#running) {
      const made = await Promise.all([...this.#sidecars, this.#any()].map((sidecar) => sidecar.signIn(subject, known)));
      for (const each of made) if (each) known.push({ ...each, endBegan: 0 });
      const listed = await this.#any().list(subject);
      if (listed && listed.length > 5) this.record.wrong.push(`${subject} has ${listed.length} sessions`);
      for (const each of known.slice(-4)) await this.#validate(each);
      await pause(250);
    }
    await pause(CHASE_MS);
    const answers = await Promise.all(
      this.#sidecars.map((sidecar) => Promise.all(known.map((each) => sidecar.validate(each)))),
    );
    for (const said of answers) {
      const good = said.filter((answer) => answer === 'yes').length;
      if (good > 5) this.record.wrong.push(`${good} sessions of ${subject} are good at once`);
    }
  }

  #someDead(): KnownToken | undefined {
    return pick(this.dead.slice(-DEAD), this.#draw(DEAD));
  }

  #at(number: number): TrafficCalls {
    const sidecar = this.#sidecars[number % this.#sidecars.length];
    if (!sidecar) throw new Error('there is no sidecar');
    return sidecar;
  }

  #any(): TrafficCalls {
    return this.#at(this.#draw(this.#sidecars.length));
  }

  /** A whole number below `bound`. */
  #draw(bound: number): number {
    const [high = 0, low = 0] = this.#random.bytes(2);
    return bound === 0 ? 0 : (high * 256 + low) % bound;
  }
}

/** Enrols an authenticator; the backup codes. */
async function enrolApp(client: GrpcClient, known: KnownToken): Promise<string[]> {
  const { factorId, key } = await beginApp(client, known);
  const { backupCodes } = await client.unary(FactorService.method.confirmEnrollment, {
    subject: known.subject,
    factorId,
    proof: { case: 'code', value: oathtoolCode(key) },
  });
  return [...backupCodes];
}

function pick<T>(from: readonly T[], place: number): T | undefined {
  return from[from.length === 0 ? 0 : place % from.length];
}
