import { ApiError, type ApiProblem } from './api.ts';

/** What a page tells a person about something that did not work, and whether to try again makes sense. */
export interface Problem {
  readonly title: string;
  readonly text: string;
  readonly steps?: readonly string[];
  readonly again: boolean;
}

const OFFLINE = 'Look whether you are online, and try again. Nothing was changed.';

const OF_API: Readonly<Record<ApiProblem, Problem>> = {
  offline: { title: 'No answer', text: OFFLINE, again: true },
  unavailable: { title: 'Not right now', text: 'The service is busy. Try again in a moment.', again: true },
  limited: { title: 'Too often', text: 'That was tried too often. Wait a minute, and try again.', again: true },
  expired: {
    title: 'This link is over',
    text: 'It was used before, or its time is up. Go back to where you got it, and ask for a new one.',
    again: false,
  },
  refused: {
    title: 'That was refused',
    text: 'Go back to where you got the link, and begin again.',
    again: false,
  },
  invalid: {
    title: 'This browser cannot be used',
    text: 'What it offers for notifications is not supported here. Try another browser.',
    again: false,
  },
  foreign: {
    title: 'Wrong address',
    text: 'Open the link again, as it was given to you: this page was reached by another address than the one it belongs to.',
    again: false,
  },
  failed: {
    title: 'That did not work',
    text: 'Something is wrong on our side. Try again, or tell support.',
    again: true,
  },
};

export function problemOf(error: unknown): Problem {
  return OF_API[error instanceof ApiError ? error.problem : 'failed'];
}
