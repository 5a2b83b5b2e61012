import { testScenarios } from './scenario.ts'
import { stateLost } from './state-lost.ts'

testScenarios(stateLost)
