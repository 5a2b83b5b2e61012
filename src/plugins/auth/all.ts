import type { Plugin } from '../../plugin-api.ts'
import { parseYesNo } from '../option-values.ts'

const options = {
  all: { meaning: 'yes: everybody who can reach the server', type: 'yes or no', parse: parseYesNo },
} as const

/** `all = yes`: said aloud, because a block that names no condition accepts nobody. */
export const allCredential: Plugin<'credential', typeof options> = {
  kind: 'credential',
  name: 'all',
  meaning: 'everybody',
  options,
  async create({ all }) {
    return { holds: () => all === true, couldHold: () => all === true }
  },
}
