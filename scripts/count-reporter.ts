import type { TestEvent } from 'node:test/reporters'

/** The one line that says how it went: the last that scripts/test prints. */
export default async function* countReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== 'test:summary' || event.data.file !== undefined) continue
    const { tests, passed, skipped, todo } = event.data.counts
    yield `${passed} passed, ${tests - passed - skipped - todo} failed, ${skipped} skipped\n`
  }
}
