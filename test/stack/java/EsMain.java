// SPDX-License-Identifier: Apache-2.0
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsUtils;

/**
 * Runs one Elasticsearch node from plain jars: EsMain HOME
 * (settings: HOME/config/elasticsearch.yml, modules: HOME/modules).
 * Works as root, which the stock launcher refuses.
 */
public class EsMain {
    public static void main(String[] args) throws Exception {
        // Must come first: without it the file readers of the server meet a null logger.
        LogConfigurator.configureESLogging();
        LogConfigurator.setNodeName("n1");
        Path home = Path.of(args[0]).toAbsolutePath();
        Path config = home.resolve("config");
        Settings settings = Settings.builder()
            .loadFromPath(config.resolve("elasticsearch.yml"))
            .put("path.home", home.toString())
            .build();
        Environment environment =
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), config, () -> "n1");
        PluginsLoader loader = PluginsLoader.createPluginsLoader(
            PluginsUtils.getModuleBundles(environment.modulesDir()), Set.of(), Map.of(), false);
        Node node = new Node(environment, loader);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        new CountDownLatch(1).await();
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
