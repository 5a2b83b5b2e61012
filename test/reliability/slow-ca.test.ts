import { testScenarios } from './scenario.ts'
import { slowCa } from './slow-ca.ts'

testScenarios(slowCa)
