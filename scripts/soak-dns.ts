// npm run soak -- --only dns: hostile packets for the embedded DNS server, straight and by UDP.
import { type FuzzFigures, type FuzzOptions, fuzzAnswers, fuzzListener } from '../test/dns-fuzz.ts'
import { makeDnsWorld } from '../test/dns-responder-world.ts'
import { txtValues } from '../test/dns-world.ts'

const name = 'host.example.org'
const value = 'v'.repeat(43)

/** @returns what went wrong; empty when it lives, answered as it must, and still knows its record */
export async function soakDns(options: FuzzOptions, tell: (line: string) => void): Promise<string[]> {
  await using world = await makeDnsWorld()
  await world.put(name, value, 24 * 3_600_000)
  const runs: readonly (readonly [string, () => Promise<FuzzFigures>])[] = [
    ['straight into the responder', () => fuzzAnswers(world.answer, options)],
    ['by UDP at its port', () => fuzzListener(world.port, { ...options, seed: options.seed + 1 })],
  ]
  const violations: string[] = []
  for (const [how, run] of runs) {
    const startedAtMs = performance.now()
    try {
      const { packets, answered, rcodes } = await run()
      const seconds = Math.round((performance.now() - startedAtMs) / 1000)
      const codes = Object.entries(rcodes).map(([rcode, count]) => `${count} of code ${rcode}`)
      tell(`${packets} packets ${how}: ${answered} answered (${codes.join(', ')}), ${seconds} s`)
      // It is a test of something only where each kind of answer was among them.
      const absent = [0, 1, 3, 4, 5].filter((rcode) => rcodes[rcode] === undefined)
      if (packets >= 1000 && absent.length > 0) violations.push(`${how}: no answer had code ${absent.join(', ')}`)
    } catch (error) {
      violations.push(`${how}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  const shown = await txtValues(world.port, `${name}.acme.example.net`).catch((error: unknown) => [String(error)])
  if (shown.join() !== value) violations.push(`afterwards it says ${shown.join() || 'nothing'}`)
  return [...violations, ...world.errors.map((error) => `the responder: ${String(error)}`)]
}
