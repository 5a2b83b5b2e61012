import type { Plugin } from '../../plugin-api.ts'

/** `type = none`: every request is a new order. */
export const noneStorage: Plugin<'storage', Record<never, never>> = {
  kind: 'storage',
  name: 'none',
  meaning: 'keep nothing: every request is a new order',
  options: {},
  async create() {
    return {
      keepsNothing: true,
      find: async () => undefined,
      keep: async () => undefined,
      forget: async () => undefined,
    }
  },
}
