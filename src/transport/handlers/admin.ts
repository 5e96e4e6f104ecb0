import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { type AdminService, RunMode } from '#src/gen/sallyport/v1/admin_pb.js';
import type { Operations } from '#src/services/operations.ts';
import type { Outages } from '#src/services/outages.ts';
import type { Handlers } from '../call.ts';
import { methodToProto, type Realms, realmOf } from '../mapping/common.ts';

export interface AdminHandlerDependencies {
  readonly operations: Pick<Operations, 'reset' | 'unlock'>;
  readonly outages: Pick<Outages, 'mode' | 'degraded' | 'dependencies'>;
  readonly realms: Realms;
  readonly info: {
    readonly version: string;
    readonly startedAt: EpochMs;
    readonly mfaEnabled: boolean;
    readonly methods: readonly Method[];
    chainId(): Promise<string>;
  };
}

const MODES = { embedded: RunMode.EMBEDDED, shared: RunMode.SHARED, degraded: RunMode.DEGRADED } as const;

export function adminHandlers(
  deps: AdminHandlerDependencies,
): Pick<Handlers<typeof AdminService>, 'resetSubject' | 'unlockSubject' | 'getInfo'> {
  const { operations, outages, realms, info } = deps;
  return {
    async resetSubject(request, call) {
      const { subject, reason, requestId } = request;
      const realm = realmOf(realms, request.realm);
      const { pass, expiresAt } = await operations.reset(call.caller, { realm, subject, reason, requestId });
      return { temporaryPass: pass, expireTime: timestampFromMs(expiresAt) };
    },
    unlockSubject: (request, call) =>
      operations.unlock(call.caller, realmOf(realms, request.realm), request.subject, request.reason),
    async getInfo() {
      return {
        version: info.version,
        mode: MODES[outages.mode],
        startTime: timestampFromMs(info.startedAt),
        realms: [...realms.names],
        mfaEnabled: info.mfaEnabled,
        methods: info.methods.map(methodToProto),
        auditChainId: await info.chainId(),
        degraded: outages.degraded === '' ? [] : outages.degraded.split(','),
        dependencies: outages.dependencies.map(({ name, up, since }) => ({
          name,
          up,
          sinceTime: timestampFromMs(since),
        })),
      };
    },
  };
}
