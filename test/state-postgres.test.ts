// The contracts of the state on a real PostgreSQL.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openState } from '../src/state/state.ts'
import { findPeer } from './peers/peers.ts'
import { type Postgres, startPostgres } from './peers/postgres.ts'
import { testStateContract, type World } from './state-contract.ts'

if (findPeer('postgres') === undefined) test('PostgreSQL', (t) => t.skip('postgres is not here'))
else {
  let postgres: Promise<Postgres> | undefined
  let databases = 0
  after(async () => (await postgres)?.[Symbol.asyncDispose]())
  testStateContract('PostgreSQL', async (): Promise<World> => {
    postgres ??= startPostgres()
    const url = await (await postgres).createDatabase(`contract_${databases++}`)
    const stack = new AsyncDisposableStack()
    return {
      open: async (now = () => Date.UTC(2026, 10, 21)) => stack.use(await openState(url, now, assert.ifError)),
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    }
  })
}
