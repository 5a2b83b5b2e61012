import type { Plugin } from '../../plugin-api.ts'
import { parseDays } from '../option-values.ts'

const options = {
  'renew-within': {
    meaning:
      'renew when a request comes and less than this is left (default: 14 days, but at most a third of the lifetime)',
    type: 'days',
    parse: parseDays,
  },
} as const

/** `type = state`: what is used where a configuration names no storage. */
export const stateStorage: Plugin<'storage', typeof options> = {
  kind: 'storage',
  name: 'state',
  meaning: 'keep certificates in the state database (the default)',
  options,
  async create({ 'renew-within': renewWithinMs }, { certificates }) {
    return {
      ...(renewWithinMs === undefined ? {} : { renewWithinMs }),
      find: (request) => certificates.findChain(request),
      keep: (request, chainPem) => certificates.saveChain(request, chainPem),
      forget: (request) => certificates.removeChain(request),
    }
  },
}
