// Which credentials answer for a name.
#include <algorithm>

#include "base/check.h"
#include "tls/credentials.h"

namespace warren::tls {
namespace {

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

}  // namespace

std::string canonicalName(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(), lower);
  return text;
}

const std::shared_ptr<const Credentials>& ServerPolicy::choose(std::string_view serverName) const {
  WARREN_CHECK(fallback != nullptr);
  if (serverName.empty() || named.empty()) return fallback;
  const std::string name = canonicalName(serverName);
  const size_t dot = std::min(name.find('.'), name.size());
  const std::string wildcard = "*" + name.substr(dot);
  const std::shared_ptr<const Credentials>* covered = &fallback;
  for (const Named& one : named) {
    WARREN_CHECK(one.credentials != nullptr);
    if (one.name == name) return one.credentials;
    // "*.example.com" covers one label that is there, so neither "example.com" nor ".example.com".
    if (dot > 0 && wildcard.size() > 1 && one.name == wildcard) covered = &one.credentials;
  }
  return *covered;
}

}  // namespace warren::tls
