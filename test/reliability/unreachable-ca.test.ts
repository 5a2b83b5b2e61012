import { testScenarios } from './scenario.ts'
import { unreachableCa } from './unreachable-ca.ts'

testScenarios(unreachableCa)
