import { Fault, invalidFields } from '#src/domain/faults.ts';
import type {
  SessionService,
  UpdateSessionRequest,
  ValidateSessionResponse,
} from '#src/gen/sallyport/v1/session_pb.js';
import type { Sessions } from '#src/services/sessions/sessions.ts';
import type { Handlers } from '../call.ts';
import { clientFromProto, type Realms, realmOf, sensitivityFromProto, timestampToProto } from '../mapping/common.ts';
import { revocationToProto, sessionToProto, validSessionToProto } from '../mapping/session.ts';

export interface SessionHandlerDependencies {
  readonly sessions: Sessions;
  readonly realms: Realms;
}

export function sessionHandlers(deps: SessionHandlerDependencies): Handlers<typeof SessionService> {
  const { sessions, realms } = deps;
  return {
    async createSession(request, call) {
      const created = await sessions.creation.create(
        {
          realm: realmOf(realms, request.realm),
          subject: request.subject,
          client: request.client && clientFromProto(request.client),
          receipt: request.receipt,
          labels: request.labels,
          endSessionIds: request.endSessionIds,
          rememberDevice: request.rememberDevice,
          deviceName: request.deviceName,
          requestId: request.requestId,
        },
        call.caller,
      );
      if (created.outcome === 'choose') return { candidates: created.candidates.map(sessionToProto) };
      return {
        session: sessionToProto(created.session),
        token: created.token,
        evicted: created.evicted.map(sessionToProto),
        ...(created.trusted && {
          trustedDeviceToken: created.trusted.token,
          trustedDeviceExpireTime: timestampToProto(created.trusted.expiresAt),
        }),
      };
    },

    // Synchronous on a warm hit, so that the transport can answer in the same turn.
    validateSession(request, call): ValidateSessionResponse | Promise<ValidateSessionResponse> {
      const realm = realmOf(realms, request.realm);
      const client = request.client && clientFromProto(request.client);
      const sensitivity = sensitivityFromProto(request.sensitivity);
      const valid = sessions.validation.validate(realm, request.token, client, call.caller, sensitivity);
      if (valid instanceof Promise) return valid.then((later) => validSessionToProto(good(later)));
      return validSessionToProto(good(valid));
    },

    async getSession(request) {
      const session = await sessions.directory.get(realmOf(realms, request.realm), request.sessionId);
      return { session: sessionToProto(session) };
    },

    async updateSession(request, call) {
      const changed = await sessions.renewal.update(
        {
          realm: realmOf(realms, request.realm),
          token: request.token,
          receipt: request.receipt,
          labels: labelsToSet(request),
          client: request.client && clientFromProto(request.client),
          requestId: request.requestId,
        },
        call.caller,
      );
      const { session, token } = good(changed);
      return { session: sessionToProto(session), token };
    },

    async listSessions(request) {
      const page = await sessions.directory.list({
        realm: realmOf(realms, request.realm),
        subject: request.subject,
        includeEnded: request.includeEnded,
        pageSize: request.pageSize,
        pageToken: request.pageToken,
      });
      return { sessions: page.sessions.map(sessionToProto), nextPageToken: page.nextPageToken };
    },

    async revokeSession(request, call) {
      const realm = realmOf(realms, request.realm);
      const { session } = request;
      switch (session.case) {
        case 'token':
          return {
            session: sessionToProto(good(await sessions.directory.revokeByToken(realm, session.value, call.caller))),
          };
        case 'sessionId': {
          const ended = await sessions.directory.revokeById(realm, session.value, request.subject, call.caller);
          return { session: sessionToProto(ended) };
        }
        default:
          throw invalidFields([{ field: 'session', description: 'name the session by token or by session_id' }]);
      }
    },

    async revokeAllSessions(request, call) {
      const realm = realmOf(realms, request.realm);
      const { subject, exceptToken } = request;
      return { revoked: good(await sessions.directory.revokeAll(realm, subject, exceptToken, call.caller)) };
    },

    async *watchRevocations(request, call) {
      const realm = realmOf(realms, request.realm);
      for await (const batch of sessions.revocations.follow(realm, request.cursor, call.signal)) {
        yield { revocations: batch.revocations.map(revocationToProto), cursor: batch.cursor };
      }
    },
  };
}

/** The one answer to every token that is not good, whatever is wrong with it. */
function good<T>(found: T | undefined): T {
  if (found !== undefined) return found;
  throw new Fault('unauthenticated', 'SESSION_INVALID', 'the session token is not good; sign in again');
}

function labelsToSet(request: UpdateSessionRequest): Readonly<Record<string, string>> | undefined {
  const paths = request.updateMask?.paths ?? [];
  if (paths.some((path) => path !== 'labels')) {
    throw invalidFields([{ field: 'update_mask', description: 'may name `labels` only' }]);
  }
  const isNamed = paths.length > 0 || Object.keys(request.labels).length > 0;
  return isNamed ? request.labels : undefined;
}
