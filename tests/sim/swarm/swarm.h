// The swarm: many random programs, each held against the model; a failing one is shrunk.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "program.h"

namespace warren::swarm {

struct Finding {
  Program program;
  std::string problem;
};

// Runs a program in a child process: a check that fails in warren, a crash and an endless loop are
// findings like any other.
std::optional<Finding> run(const Program& program);

// Leaves out whatever is not needed for it to fail.
Finding shrink(Finding finding);

struct Campaign {
  uint64_t firstSeed = 1;
  uint64_t seeds = UINT64_MAX;  // how many
  size_t steps = 100;           // of each program
  std::chrono::milliseconds time = std::chrono::hours(1000);
};

struct Outcome {
  uint64_t seeds = 0;
  uint64_t steps = 0;
  std::optional<Finding> finding;  // the first one, as it was found
};

// One seed after the other, until something is found, `seeds` are done or the time is up.
Outcome search(const Campaign& campaign);

// Other seeds every day, the same ones all day long.
uint64_t seedOfToday();

// Every program of a file, each behind a line that begins with `program`; lines with `#` are comments.
std::vector<Program> readPrograms(const std::string& path);

}  // namespace warren::swarm
