// A few seconds of the swarm. `make stress` and the program itself run longer.
#include "swarm/swarm.h"

#include "support/catch.h"

namespace warren::swarm {
namespace {

std::string textOf(const Finding& finding) {
  return finding.problem + "\n" + print(finding.program);
}

TEST_CASE("no program of today's seeds breaks a promise") {
  const Outcome outcome =
      search({.firstSeed = seedOfToday(), .time = std::chrono::milliseconds(3000)});
  INFO("seed " << seedOfToday() + outcome.seeds);
  if (outcome.finding) FAIL(textOf(shrink(*outcome.finding)));
  REQUIRE(outcome.steps > 1000);
}

TEST_CASE("no program that once broke a promise does so again") {
  const std::vector<Program> programs = readPrograms("tests/sim/swarm/regressions");
  REQUIRE(programs.size() >= 2);
  for (const Program& program : programs) {
    if (const auto finding = run(program)) FAIL_CHECK(textOf(*finding));
  }
}

TEST_CASE("a program that is printed can be replayed") {
  const Program program = generate(7, 200);
  const std::optional<Program> again = parse(print(program));
  REQUIRE(again);
  REQUIRE(again->operations.size() == 200);
  REQUIRE(print(*again) == print(program));
  REQUIRE_FALSE(parse("listen now 0 0 0\n"));
  REQUIRE_FALSE(parse(print(program) + "dance now 0 0 0\n"));
}

TEST_CASE("a program that kills its process is a finding, and shrinks to what kills it") {
  Program program = generate(7, 40);
  program.operations.insert(program.operations.begin() + 20, {.verb = Verb::count});
  const std::optional<Finding> finding = run(program);
  REQUIRE(finding);
  REQUIRE(finding->problem.find("check failed") != std::string::npos);
  const Finding shrunk = shrink(*finding);
  REQUIRE(shrunk.program.operations.size() == 1);
  REQUIRE(shrunk.program.operations[0].verb == Verb::count);
}

}  // namespace
}  // namespace warren::swarm
