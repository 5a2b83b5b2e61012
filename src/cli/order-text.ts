import type { OrderStory } from '../state/order-stories.ts'
import { isoTime } from './table.ts'

/** An order for scripts. */
export function storyJson(story: OrderStory, issuerName: (key: string) => string) {
  const { need: id, beganAtMs, finishedAtMs, steps, issuerKey, ...rest } = story
  return {
    id,
    ...rest,
    issuer: issuerName(issuerKey),
    issuerKey,
    beganAt: isoTime(beganAtMs),
    finishedAt: isoTime(finishedAtMs),
    steps: steps.map(({ atMs, note }) => ({ at: isoTime(atMs), note })),
  }
}
