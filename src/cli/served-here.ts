import { createDeploymentWork } from '../deployment-work.ts'
import type { Managed } from '../managed/upkeep.ts'
import type { IssuanceEvent } from '../plugin-api.ts'
import { placesOf } from '../probe/probe-place.ts'
import type { Runtime } from '../runtime.ts'
import type { Desk } from './open-installation.ts'

/** A server that was told to read its certificate anew needs a moment. */
const pausesMs = [2000, 5000, 10_000]

/**
 * Looks whether what is installed here is served, where `probe` says.
 * @param changed names of the sections that changed just now: those are given time
 * @returns a sentence for each place where it is not
 */
export async function lookWhetherServed(
  desk: Desk,
  runtime: Runtime,
  chosen: readonly Managed[],
  changed: ReadonlySet<string>,
  tell: (event: IssuanceEvent) => void,
): Promise<string[]> {
  const { clock, context, state } = desk
  const parts = { ...desk, runtime: () => runtime, managed: () => chosen, tell, later: (act: () => void) => act() }
  const { watch, installed } = createDeploymentWork(parts)
  const sentences: string[] = []
  for (const { targets, ...wanted } of await installed()) {
    const name = chosen.find(({ block }) => block === wanted.block)?.section.name ?? wanted.block
    const places = targets.flatMap((target) => placesOf(target, wanted.names, []))
    for (const pauseMs of changed.has(name) ? pausesMs : [0]) {
      await clock.sleep(pauseMs, context.signal)
      if ((await watch.lookAt(wanted, places, 'this machine')) === 0) break
    }
    for (const { place, failures, reason } of await state.deployments.sightingsOf(wanted))
      if (failures > 0) sentences.push(`${name}: not served at ${place}: ${reason}`)
  }
  return sentences
}
