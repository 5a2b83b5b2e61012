import { revocation } from './revocation.ts'
import { testScenarios } from './scenario.ts'

testScenarios(revocation)
