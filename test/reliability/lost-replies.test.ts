import { lostReplies } from './lost-replies.ts'
import { testScenarios } from './scenario.ts'

testScenarios(lostReplies)
