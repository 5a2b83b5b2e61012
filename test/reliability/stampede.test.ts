import { testScenarios } from './scenario.ts'
import { stampede } from './stampede.ts'

testScenarios(stampede)
