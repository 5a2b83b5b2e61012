// The contracts of the state on a real PostgreSQL.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import { openState } from '../src/state/state.ts'
import { findPeer } from './peers/peers.ts'
import { type Postgres, startPostgres } from './peers/postgres.ts'
import { answer, testStateContract, type World } from './state-contract.ts'

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

  test('PostgreSQL: VACUUM waits for others at the table, and is done again while a snapshot is older', async () => {
    postgres ??= startPostgres()
    const url = await (await postgres).createDatabase('scrubbing')
    await using state = await openState(url, () => Date.UTC(2026, 10, 21), assert.ifError)
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      await client.query('CREATE EXTENSION pgstattuple')
      const dead = async () =>
        (await client.query<{ dead: string }>("SELECT dead_tuple_count::text AS dead FROM pgstattuple('answers')"))
          .rows[0]?.dead
      await state.answers.put(answer)
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
      assert.equal((await client.query('SELECT FROM answers')).rowCount, 1)
      await state.answers.remove(answer)
      await state.scrubbing.run()
      assert.equal(state.scrubbing.isDue, true)
      await client.query('COMMIT')
      assert.equal(await dead(), '1')
      await client.query('BEGIN')
      // What autovacuum and another server's VACUUM hold. It takes no snapshot.
      await client.query('LOCK TABLE answers IN SHARE UPDATE EXCLUSIVE MODE')
      const run = state.scrubbing.run()
      assert.equal(await Promise.race([run, setTimeout(500, 'waits')]), 'waits')
      await client.query('COMMIT')
      await run
      assert.equal(state.scrubbing.isDue, false)
      assert.equal(await dead(), '0')
    } finally {
      await client.end()
    }
  })
}
