import { Fleet, type FleetOptions } from '../../support/fleet.ts';
import { UNHURRIED } from '../../support/patient-settings.ts';
import { describeRaces } from '../races.contract.ts';

const overFleet = (options: FleetOptions) => async () => {
  const fleet = await Fleet.start(options);
  const { sidecars } = fleet;
  return {
    clients: [...sidecars, ...sidecars].map((sidecar) => sidecar.client()),
    operator: fleet.operator(0),
    metric: async (name: string) => {
      const counts = await Promise.all(sidecars.map((sidecar) => sidecar.metric(name)));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    [Symbol.asyncDispose]: () => fleet[Symbol.asyncDispose](),
  };
};

/** Fifty at once on a busy machine: what is slow must not be taken for a refusal. */
const settings = UNHURRIED;

describeRaces('three sidecars over Redis and PostgreSQL', overFleet({ settings }));
describeRaces('three sidecars without Redis, through a pooler', overFleet({ settings, redis: 'none', pooler: true }));
