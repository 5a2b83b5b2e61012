import type { Plugin } from '../../plugin-api.ts'
import { addressRanges, parseAddressRange } from '../address-range.ts'

const options = {
  ip: {
    meaning: 'the caller has this address or one of this range',
    type: 'address or range',
    list: true,
    parse: parseAddressRange,
  },
} as const

/** `ip = 192.0.2.0/24`: any of the block's ranges holds. */
export const ipCredential: Plugin<'credential', typeof options> = {
  kind: 'credential',
  name: 'ip',
  meaning: "the caller's address",
  options,
  async create({ ip }) {
    const ranges = addressRanges(ip)
    return {
      holds: ({ remoteAddress }) => ranges.includes(remoteAddress),
      couldHold: ({ remoteAddress }) => ranges.includes(remoteAddress),
    }
  },
}
