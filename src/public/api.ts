/** Why a request to the sidecar did not work; `offline`: no answer came. */
export type ApiProblem =
  | 'invalid'
  | 'foreign'
  | 'expired'
  | 'refused'
  | 'limited'
  | 'unavailable'
  | 'failed'
  | 'offline';

const PROBLEMS: readonly ApiProblem[] = [
  'invalid',
  'foreign',
  'expired',
  'refused',
  'limited',
  'unavailable',
  'failed',
];
const PATIENCE_MS = 15_000;

export class ApiError extends Error {
  readonly problem: ApiProblem;

  constructor(problem: ApiProblem) {
    super(problem);
    this.problem = problem;
  }
}

/** Throws ApiError. */
export async function post<T>(path: string, body: unknown): Promise<T> {
  return await call<T>(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

/** Throws ApiError. */
export async function get<T>(path: string): Promise<T> {
  return await call<T>(path, {});
}

async function call<T>(path: string, init: RequestInit): Promise<T> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, {
      ...init,
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
      referrerPolicy: 'no-referrer',
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    text = await response.text();
  } catch {
    throw new ApiError('offline');
  }
  const value = parse(text);
  if (response.ok && value !== undefined) return value as T;
  throw new ApiError(problemOf(response.status, value));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Proxies in between answer in forms of their own. */
function problemOf(status: number, value: unknown): ApiProblem {
  const named = typeof value === 'object' && value !== null && 'error' in value ? value.error : undefined;
  const found = PROBLEMS.find((problem) => problem === named);
  if (found) return found;
  if (status === 429) return 'limited';
  return status >= 500 ? 'unavailable' : 'failed';
}
