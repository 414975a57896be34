// The deliberate differences between warren and the reference: the table in deviations.txt, which lies
// beside the traces and says how it is read.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "conformance/trace.h"

namespace warren::conformance {

// In `scenario`, warren's `actor` has the lines `ours` where the recording has `recorded`.
struct Deviation {
  std::string scenario;
  std::string actor;
  std::set<std::string> reasons;  // their keys
  Lines recorded;
  Lines ours;
};

struct Deviations {
  struct Reason {
    std::string key;
    std::string sentence;
  };
  std::vector<Reason> reasons;
  std::vector<Deviation> everywhere;  // without actor; `scenario` is the one that is left out
  std::vector<Deviation> table;

  // Read once. Throws std::runtime_error, with the line, for what cannot be read.
  static const Deviations& all();

  // The reasons, and the scenarios each is the reason of, as a Markdown table.
  std::string markdown() const;
};

// What warren is to do: the recorded lines with the deviations put in. Throws std::runtime_error for a
// deviation whose recorded lines are not in the recording.
std::map<std::string, Lines> expected(const Recording& recording);

}  // namespace warren::conformance
