// Looks for programs that make warren break a promise.
//   swarm --seed S [--steps N]             one program
//   swarm [--seed S] --seeds K [--steps N] as many, from S on (default: today's date)
//   swarm [--seed S] --time T              for so many seconds
//   swarm --replay FILE                    the programs of a file
//   swarm --print --seed S [--steps N]     shows a program
// The exit code is 1 when something was found; it is printed shrunk, as a program to replay.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "swarm.h"

namespace {

using namespace warren::swarm;

int usage() {
  std::fputs(
      "usage: swarm [--seed S] [--seeds K] [--steps N] [--time SECONDS] [--no-shrink] [--print] "
      "[--replay FILE]\n",
      stderr);
  return 2;
}

int report(Finding finding, bool shrinking) {
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(finding.program.seed),
              finding.problem.c_str());
  if (shrinking) finding = shrink(std::move(finding));
  std::printf("%s\n%s", finding.problem.c_str(), print(finding.program).c_str());
  return 1;
}

int replay(const std::string& path) {
  const std::vector<Program> programs = readPrograms(path);
  for (const Program& program : programs) {
    if (const auto found = run(program)) return report(*found, false);
  }
  std::printf("%zu programs replayed, nothing found\n", programs.size());
  return programs.empty() ? 2 : 0;
}

}  // namespace

int main(int count, char** words) {
  Campaign campaign{.firstSeed = seedOfToday(), .seeds = 0};
  bool seeded = false, shrinking = true, printing = false, timed = false;
  for (int at = 1; at < count; ++at) {
    const std::string word = words[at];
    if (word == "--no-shrink" || word == "--print") {
      (word == "--print" ? printing : shrinking) = word == "--print";
      continue;
    }
    if (at + 1 == count) return usage();
    const char* value = words[++at];
    if (word == "--replay") return replay(value);
    const uint64_t number = std::strtoull(value, nullptr, 10);
    if (word == "--seed")
      campaign.firstSeed = number, seeded = true;
    else if (word == "--seeds")
      campaign.seeds = number;
    else if (word == "--steps")
      campaign.steps = static_cast<size_t>(number);
    else if (word == "--time")
      campaign.time = std::chrono::seconds(number), timed = true;
    else
      return usage();
  }
  if (!seeded && campaign.seeds == 0 && !timed) return usage();
  if (campaign.seeds == 0) campaign.seeds = timed ? UINT64_MAX : 1;
  if (printing)
    return std::fputs(print(generate(campaign.firstSeed, campaign.steps)).c_str(), stdout) < 0;
  const Outcome outcome = search(campaign);
  std::printf("%llu seeds, %llu steps\n", static_cast<unsigned long long>(outcome.seeds),
              static_cast<unsigned long long>(outcome.steps));
  return outcome.finding ? report(*outcome.finding, shrinking) : 0;
}
